"""Evaluating a program in torch: module activities, then production rate, row by row."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit_gene.simulation.program import Program

CHI_LIMIT = 1e9
"""Largest (x/k)^n inside a complex: beyond it the activity no longer moves, and float32 would overflow."""


class Production:
    """Production rates of a program's rows for levels of shape (rows, columns).

    Args:
        program: the rows.
        block_type: cell type of each block of `width` neighbouring columns.
        width: columns a block: 64 cells in kernels, 1 for deterministic states.
        dtype: float32 in kernels, float64 for deterministic states.
        device: where the levels live.
    """

    def __init__(
        self,
        program: Program,
        block_type: Sequence[int],
        *,
        width: int = 1,
        dtype: torch.dtype = torch.float64,
        device: str = "cpu",
    ) -> None:
        self.program, self.dtype, self.device = program, dtype, device
        f = program.features
        self._simple_row = self._ids(f.simple_row)
        self._simple_rate = self._column(1 / f.simple_half)
        self._simple_uncut = None if np.all(f.simple_uncut == 1) else self._column(f.simple_uncut)
        self._hill_groups = _equal_runs(f.simple_hill)
        self._modules = _Modules(program, self) if len(f.module_row) else None
        self._products = self._ids(f.products)
        self._slots = [(self._ids(ids), self._column(w)) for ids, w in program.slots]
        self._basal = self._tensor(program.basal[:, np.asarray(block_type)])
        self._width = width

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=self.dtype, device=self.device)

    def _ids(self, values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=torch.int64, device=self.device)

    def _column(self, values: Any) -> Tensor:
        return self._tensor(values)[:, None]

    def features(self, levels: Tensor) -> Tensor:
        """Activities and their products, (features, columns), of regulator levels (rows, columns)."""
        ratio = levels.index_select(0, self._simple_row) * self._simple_rate
        parts = [ratio[a:b] if n == 1 else _power(ratio[a:b], n) for a, b, n in self._hill_groups]
        power = parts[0] if len(parts) == 1 else torch.cat([*parts, ratio[:0]])
        active = 1 - 1 / (1 + power) if len(power) else power
        if self._simple_uncut is not None:
            active = active * self._simple_uncut
        if self._modules is None and not len(self._products):
            return active
        one = torch.ones((1, levels.shape[1]), dtype=self.dtype, device=self.device)
        general = [] if self._modules is None else [self._modules.activities(levels)]
        single = torch.cat([active, *general, one])
        product = single[self._products[:, 0]] if len(self._products) else single[:0]
        for j in range(1, self._products.shape[1]):
            product = product * single[self._products[:, j]]
        return torch.cat([single, product])

    def rates(self, features: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Unperturbed production of rows `first:last`, before `scale` and `added`; shape (rows, columns)."""
        last = self.program.n_rows if last is None else last
        rate = torch.empty(
            (last - first, self._basal.shape[1], self._width), dtype=self.dtype, device=self.device
        )
        rate.copy_(self._basal[first:last, :, None])
        rate = rate.view(last - first, -1)
        for ids, weight in self._slots:
            stop = min(len(ids), last)
            if stop <= first:
                break
            rate[: stop - first].addcmul_(features.index_select(0, ids[first:stop]), weight[first:stop])
        return rate.clamp_min_(0) if self.program.signed else rate

    def rates_tangent(self, features_tangent: Tensor) -> Tensor:
        """Change of the rates for a change of the features (rates are linear in them)."""
        change = features_tangent.new_zeros((self.program.n_rows, features_tangent.shape[1]))
        for ids, weight in self._slots:
            change[: len(ids)].addcmul_(features_tangent.index_select(0, ids), weight)
        return change


@dataclass(frozen=True)
class _Modules:
    """General modules, padded to one number of inputs."""

    row: Tensor
    rate: Tensor
    hill: Tensor
    uncut: Tensor
    activator: Tensor
    deactivator: Tensor
    is_complex: Tensor
    shape: tuple[int, int]

    def __init__(self, program: Program, host: Production) -> None:
        f = program.features
        put = object.__setattr__
        put(self, "shape", f.module_row.shape)
        put(self, "row", host._ids(f.module_row.ravel()))
        for name, values in (("rate", 1 / f.module_half), ("hill", f.module_hill), ("uncut", f.module_uncut)):
            put(self, name, host._tensor(values)[:, :, None])
        put(self, "activator", torch.as_tensor(f.module_role == 1, device=host.device)[:, :, None])
        put(self, "deactivator", torch.as_tensor(f.module_role == -1, device=host.device)[:, :, None])
        put(self, "is_complex", torch.as_tensor(f.module_complex, device=host.device)[:, None])

    def activities(self, levels: Tensor) -> Tensor:
        """Activity in [0, 1] of every general module, (modules, columns)."""
        read = levels.index_select(0, self.row).reshape(*self.shape, -1)
        power = ((read * self.rate) ** self.hill).clamp(max=CHI_LIMIT)
        one = torch.ones_like(power)
        active = self.uncut * (1 - 1 / (1 + power))
        chi = self.uncut * power
        free = torch.where(self.activator, active, torch.where(self.deactivator, 1 - active, one)).prod(1)
        on = torch.where(self.activator, chi, one).prod(1)
        off = torch.where(self.deactivator, chi, one).prod(1)
        both = torch.where(self.deactivator.any(1), on * off, torch.zeros_like(on))
        return torch.where(self.is_complex, on / (1 + on + both), free)


def _power(ratio: Tensor, hill: float) -> Tensor:
    if hill == 2:
        return ratio * ratio
    if hill == 4:
        square = ratio * ratio
        return square * square
    return ratio**hill


def _equal_runs(values: Any) -> list[tuple[int, int, float]]:
    """(first, last, value) of every run of equal neighbours."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)] if len(values) else [0]
    return [(a, b, float(values[a])) for a, b in itertools.pairwise(edges)]
