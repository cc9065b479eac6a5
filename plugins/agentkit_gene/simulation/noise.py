"""The noise of a chunk of cells, drawn a few steps ahead and handed out by step, species row and purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentkit_gene.simulation import philox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from agentkit_gene.simulation.philox import Block

BUFFER_VALUES = 1 << 19
"""Values drawn ahead of use (4 MB of float64): long enough to amortise the calls, short enough to stay cheap."""


class NoiseSource:
    """Draws of shape (species, columns) for any step.

    Args:
        seed: the unit's.
        blocks: the chunk's blocks of 64 cells; columns are blocks side by side.
        species: rows of noise a step.
        owner: "" for noise shared by all conditions, else the condition whose own noise this is.
        device: where the draws are used; they are made on the CPU, so they are the same bits everywhere.
    """

    def __init__(self, seed: int, blocks: Sequence[Block], species: int, owner: str, device: str) -> None:
        self._seed, self._blocks, self._species, self._owner = seed, blocks, species, owner
        self._device = device
        self._ahead = max(1, min(64, BUFFER_VALUES // (species * len(blocks) * philox.LANES)))
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
            key = philox.stream_key(self._seed, f"{purpose}|{self._owner}" if self._owner else purpose)
            rows = make(key, self._blocks, step * self._species, self._ahead * self._species)
            first, values = step, rows.view(self._ahead, self._species, -1).to(self._device)
            self._held[purpose] = (first, values)
        return values[step - first]
