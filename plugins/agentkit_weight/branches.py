"""Low-rank and dense additions to linear layers, made by hooks; the weights themselves are never written.

A branch at a layer W (m x n) is a matrix E that the layer behaves as if it were added to W:
`y = W x + b + E x`. A `LowRank` branch holds E = scale * left @ right and costs k (m + n) per token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from agentkit_weight.errors import SiteNotHitError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True)
class LowRank:
    """E = scale * left @ right, with left (m, k) and right (k, n)."""

    left: Tensor
    right: Tensor
    scale: float | Tensor = 1.0

    def dense(self) -> Tensor:
        """E itself, (m, n): for tests and for matrices that are small."""
        return self.scale * (self.left @ self.right)

    def frobenius(self) -> Tensor:
        """||E||_F without forming E: sqrt(sum((L'L) * (R R'))), O(k^2 (m + n))."""
        inner = (self.left.T @ self.left) * (self.right @ self.right.T)
        return _size(self.scale) * inner.sum().clamp_min(0).sqrt()

    def row_norms(self) -> Tensor:
        """||E_i|| of every row, (m,): row i is L_i (R R') L_i'."""
        squares = ((self.left @ (self.right @ self.right.T)) * self.left).sum(1)
        return _size(self.scale) * squares.clamp_min(0).sqrt()

    def scaled(self, factor: float | Tensor) -> LowRank:
        """The same direction, `factor` times as long; the factors are shared."""
        return LowRank(self.left, self.right, self.scale * factor)


@dataclass(frozen=True)
class Dense:
    """E = scale * matrix, (m, n): a full-rank direction, stored once and shared by all its scales."""

    matrix: Tensor
    scale: float | Tensor = 1.0

    def dense(self) -> Tensor:
        """E itself, (m, n)."""
        return self.scale * self.matrix

    def scaled(self, factor: float | Tensor) -> Dense:
        """The same direction, `factor` times as long; the matrix is shared."""
        return Dense(self.matrix, self.scale * factor)


Branch = LowRank | Dense


class PerturbContext:
    """Hooks on linear layers that add branches to their outputs.

    Branches live in named slots (`lora`, `noise`, …), so that an adapter and a perturbation of it can be
    set and dropped separately. A layer without branches passes its output on untouched: strength zero is
    the model itself, bit for bit. Leaving the `with` block removes the hooks, after an exception too;
    there is nothing to restore.

    Args:
        sites: linear layers by name, as `agentkit_weight.sites.find_sites` returns them.
    """

    def __init__(self, sites: Mapping[str, nn.Module]) -> None:
        self.sites = dict(sites)
        self._slots: dict[str, dict[str, Branch]] = {}
        self._handles: list[RemovableHandle] = []
        self._hits: set[str] = set()

    def __enter__(self) -> PerturbContext:
        for name, module in self.sites.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._slots.clear()

    def put(self, slot: str, branches: Mapping[str, Branch]) -> None:
        """Set the branches of a slot; those it held before are gone.

        Raises:
            SiteNotHitError: a name that is not one of this context's sites.
        """
        if foreign := set(branches) - set(self.sites):
            raise SiteNotHitError(
                f"no site {sorted(foreign)[0]!r} here; sites: {', '.join(sorted(self.sites))}"
            )
        self._slots[slot] = dict(branches)

    def drop(self, slot: str) -> None:
        """Take a slot's branches away; nothing happens when there are none."""
        self._slots.pop(slot, None)

    def require_hits(self) -> None:
        """Raise when a site never ran since the context was entered.

        Raises:
            SiteNotHitError: naming the layers that the forward pass does not use.
        """
        if missed := [name for name in self.sites if name not in self._hits]:
            raise SiteNotHitError(
                f"layer {missed[0]!r} never ran ({len(missed)} of {len(self.sites)} sites): "
                "perturbing it would do nothing. Leave it out of `targets`"
            )

    def _hook(self, name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - torch's hook type is loose
        def add_branches(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            self._hits.add(name)
            here = [slot[name] for slot in self._slots.values() if name in slot]
            return _with_branches(here, inputs[0], output) if here else None

        return add_branches


def _with_branches(branches: list[Branch], x: Tensor, output: Tensor) -> Tensor:
    low = [b for b in branches if isinstance(b, LowRank)]
    if len(low) == 1 == len(branches) and _can_write(low[0], x, output):
        return _add_in_place(low[0], x, output)
    for branch in branches:
        if isinstance(branch, Dense):
            extra = functional.linear(x.to(branch.matrix.dtype), branch.matrix) * branch.scale
            output = output + extra.to(output.dtype)
    if low:
        right = low[0].right if len(low) == 1 else torch.cat([b.right for b in low])
        scaled = [b.left if _is_one(b.scale) else b.left * b.scale for b in low]
        left = scaled[0] if len(low) == 1 else torch.cat(scaled, 1)
        extra = functional.linear(functional.linear(x.to(right.dtype), right), left)
        output = output + extra.to(output.dtype)
    return output


def _size(scale: float | Tensor) -> float | Tensor:
    return scale.abs() if isinstance(scale, torch.Tensor) else abs(scale)


def _is_one(scale: float | Tensor) -> bool:
    return not isinstance(scale, torch.Tensor) and scale == 1.0


def _can_write(branch: LowRank, x: Tensor, output: Tensor) -> bool:
    """Whether the layer's fresh output may be updated in place: no graph, one dtype, one block of memory."""
    return (
        not torch.is_grad_enabled()
        and not isinstance(branch.scale, torch.Tensor)
        and x.dtype == output.dtype == branch.left.dtype
        and output.is_contiguous()
        and not torch.is_autocast_enabled(output.device.type)
    )


def _add_in_place(branch: LowRank, x: Tensor, output: Tensor) -> Tensor:
    inner, rows = x.reshape(-1, x.shape[-1]) @ branch.right.T, output.view(-1, output.shape[-1])
    if inner.shape[1] == 1:  # one pass over the output; a product of matrices costs half as much again
        rows.addcmul_(inner, branch.left.T, value=float(branch.scale))
    else:
        rows.addmm_(inner, branch.left.T, alpha=float(branch.scale))
    return output
