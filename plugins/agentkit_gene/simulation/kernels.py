"""One time step of a tile of rows: birth-death leaping on counts, and the chemical Langevin equation.

Both take production `a` frozen over the step and update levels in place; a tile is (rows, columns).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agentkit_gene.simulation import coupled

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class LangevinStep:
    """x <- max(0, keep x + gain a + sqrt(spread V) z), per row.

    Exponential form: keep = e^(-decay dt), gain = (1 - keep)/decay, spread = q^2 (1 - keep^2)/(2 decay).
    Euler-Maruyama: keep = 1 - decay dt, gain = dt, spread = q^2 dt.
    V = a + decay x (`dpd`), a (`sp`), or (sqrt a + sqrt(decay x))^2 (`spd`, SERGIO's two shared normals).
    """

    keep: Tensor
    gain: Tensor
    spread: Tensor
    decay: Tensor
    form: str

    @classmethod
    def of(cls, decay: Tensor, dt: float, q: float, form: str, *, euler: bool) -> LangevinStep:
        """Constants for rows of decay rates (rows, 1)."""
        if euler:
            return cls(
                1 - decay * dt, torch.full_like(decay, dt), torch.full_like(decay, q * q * dt), decay, form
            )
        keep = torch.exp(-decay * dt)
        return cls(keep, (1 - keep) / decay, q * q * (1 - keep * keep) / (2 * decay), decay, form)

    def advance(
        self, x: Tensor, a: Tensor, z: Tensor, first: int, last: int, *, count: bool = False
    ) -> Tensor | None:
        """Update rows `first:last` of x in place; where the clamp at 0 was hit, when `count`. Overwrites a and z."""
        decay, spread = self.decay[first:last], self.spread[first:last]
        if self.form == "dpd":
            root = (x * decay).add_(a).mul_(spread).sqrt_()
        elif self.form == "sp":
            root = (a * spread).sqrt_()
        else:
            root = (x * decay).sqrt_().add_(a.sqrt()).mul_(spread.sqrt())
        x.mul_(self.keep[first:last]).addcmul_(a, self.gain[first:last]).add_(root.mul_(z))
        hit = x < 0 if count else None
        x.clamp_min_(0)
        return hit


@dataclass(frozen=True)
class LeapStep:
    """x <- x - Binomial(x, r) + Poisson(a r / decay), r = 1 - e^(-decay dt): exact while a does not change."""

    loss: Tensor
    birth: Tensor

    @classmethod
    def of(cls, decay: Tensor, dt: float) -> LeapStep:
        """Constants for rows of decay rates (rows, 1), float64."""
        loss = -torch.expm1(-decay.double() * dt)
        return cls(loss, loss / decay.double())

    def advance(
        self,
        x: Tensor,
        a: Tensor,
        deaths: Callable[[int], Tensor],
        births: Callable[[int], Tensor],
        first: int,
        last: int,
    ) -> None:
        """Update rows `first:last` of x (whole numbers) in place."""
        mean = a.double() * self.birth[first:last]
        lost = coupled.binomial(x.double(), self.loss[first:last], deaths)
        x += (coupled.poisson(mean, births) - lost).to(x.dtype)
