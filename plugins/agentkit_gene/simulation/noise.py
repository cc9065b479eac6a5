"""The noise of a chunk of cells, drawn a few steps ahead and handed out by step, species row and purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agentkit_gene.simulation import philox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentkit_gene.simulation.philox import Block

BUFFER_VALUES = 1 << 20
"""Values drawn ahead of use (8 MB of float64): long enough to amortise the calls, short enough to stay cheap."""


class NoiseSource:
    """Draws of shape (rows of noise, columns) for any step.

    Args:
        seed: the unit's.
        blocks: the chunk's blocks of 64 cells; columns are blocks side by side.
        species: S, rows of noise a step and stream.
        owners: conditions with noise of their own: `("",)` when all share (common random numbers), else one
            name a condition. Row s of owner o is row o S + s of a draw.
        device: where the draws are used; they are made on the CPU, so they are the same bits everywhere.
    """

    def __init__(
        self, seed: int, blocks: Sequence[Block], species: int, owners: Sequence[str], device: str
    ) -> None:
        self._seed, self._blocks, self._species, self._owners = seed, blocks, species, owners
        self._device = device
        per_step = species * len(owners) * len(blocks) * philox.LANES
        self._ahead = max(1, min(64, BUFFER_VALUES // per_step))
        self._held: dict[str, tuple[int, Tensor]] = {}

    def normals(self, purpose: str, step: int) -> Tensor:
        """Standard normals of one step, float32."""
        return self._draw(purpose, step, philox.normals)

    def uniforms(self, purpose: str, step: int) -> Tensor:
        """Uniforms of one step, float64."""
        return self._draw(purpose, step, philox.uniforms)

    def _draw(self, purpose: str, step: int, make: Callable[..., Tensor]) -> Tensor:
        first, values = self._held.get(purpose, (step + 1, None))
        if values is None or not first <= step < first + values.shape[0]:
            first, values = step, self._ahead_of(purpose, step, make)
            self._held[purpose] = (first, values)
        return values[step - first]

    def _ahead_of(self, purpose: str, step: int, make: Callable[..., Tensor]) -> Tensor:
        drawn = []
        for owner in self._owners:
            key = philox.stream_key(self._seed, f"{purpose}|{owner}" if owner else purpose)
            rows = make(key, self._blocks, step * self._species, self._ahead * self._species)
            drawn.append(rows.view(self._ahead, self._species, -1))
        values = drawn[0] if len(drawn) == 1 else torch.cat(drawn, dim=1)
        return values.to(self._device)
