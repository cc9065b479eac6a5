"""Where the deterministic network comes to rest, and the Jacobian there.

Acyclic networks are iterated until nothing moves (exact after as many rounds as the longest path). Others are
integrated (Dormand-Prince, adaptive) from their start and polished by Newton; the point must be stable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from agentkit_gene.simulation.errors import NoSteadyStateError
from agentkit_gene.simulation.production import Production

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agentkit_gene.simulation.program import Floats, Program

REST = 1e-10
"""A state is at rest when |s P - decay x| <= REST (1 + decay x) in every row."""

SETTLED = 1e-5
"""Slope, relative to 1 + level, below which integration hands over to Newton."""

TIMES_SLOWEST = 400.0
"""How long a network may take to settle, in units of its slowest decay time."""


@dataclass(frozen=True)
class Rest:
    """Deterministic levels.

    Attributes:
        level: transcript level, (rows, types).
        settled: per condition, False when it still moved at the end (it oscillates); its `level` is then the mean
            over the second half of the integration.
        last: the state at the end of the integration; equal to `level` where settled.
    """

    level: Floats
    settled: NDArray[np.bool_]
    last: Floats


class Deterministic:
    """The noise-free equations of a program: `dx/dt = scale P(y) + added - decay x`, y = regulator levels.

    Args:
        program: rows; per-cell knock-downs act by their mean `1 - share * efficacy`.
        layered: whether regulators act through a protein (y is its level) rather than through x itself.
    """

    def __init__(self, program: Program, n_types: int, *, layered: bool = False) -> None:
        self.program, self.layered = program, layered
        self._production = Production(program, range(n_types))
        scale = program.scale.copy()
        for row, guides in program.knockdowns.items():
            for efficacy, share in guides:
                scale[row] *= 1 - share * efficacy
        self.scale, self.added, self.decay = (_column(v) for v in (scale, program.added, program.decay))
        self._made, self._lost = _column(program.translation), _column(program.protein_decay)
        self._clamp = _column(program.clamp)
        self._free = torch.isnan(self._clamp)

    def production(self, regulators: Tensor) -> Tensor:
        """`scale P + added`, (rows, types)."""
        rates: Tensor = self._production.rates(self._production.features(regulators))
        return rates * self.scale + self.added

    def held(self, x: Tensor) -> Tensor:
        """X with clamped rows at their level."""
        return torch.where(self._free, x, self._clamp.expand_as(x))

    def protein_at_rest(self, x: Tensor) -> Tensor:
        """The protein level that transcript level x leads to; x itself without a protein layer."""
        return x * self._made / self._lost if self.layered else x

    def slope(self, state: Tensor) -> Tensor:
        """d(state)/dt; state is (1 or 2, rows, types): transcript, and protein where layered."""
        x = self.held(state[0])
        y = state[1] if self.layered else x
        dx = torch.where(self._free, self.production(y) - self.decay * x, torch.zeros_like(x))
        return torch.stack([dx, self._made * x - self._lost * y]) if self.layered else dx[None]

    def residual(self, x: Tensor) -> Tensor:
        """`scale P - decay x` with proteins at rest; 0 for clamped rows."""
        gap = self.production(self.protein_at_rest(x)) - self.decay * x
        return torch.where(self._free, gap, torch.zeros_like(gap))

    def production_jacobian(self, regulators: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        """For every condition and type: (condition, type, d(scale P)/dy) over that condition's rows.

        The rows of different conditions do not interact, so one tangent serves all conditions at once.
        """
        p = self.program
        rows = [sorted(r.values()) for r in p.row_of]
        size = max(map(len, rows))
        columns = []
        for k in range(size):
            tangent = torch.zeros_like(regulators)
            for own in rows:
                if k < len(own):
                    tangent[own[k]] = 1.0
            change = torch.func.jvp(self._production.features, (regulators,), (tangent,))[1]
            columns.append(self._production.rates_tangent(change) * self.scale * self._free)
        for c, own in enumerate(rows):
            block = torch.stack([columns[k][own] for k in range(len(own))], dim=1) if own else None
            for t in range(regulators.shape[1]):
                if block is not None:
                    yield c, t, block[:, :, t]


def rest(model: Deterministic, start: Floats, *, cyclic: bool) -> Rest:
    """Levels at rest reached from `start` (rows, types).

    Raises:
        NoSteadyStateError: Newton ended at an unstable point; a condition that merely keeps moving is returned
            with `settled` False.
    """
    x = model.held(torch.as_tensor(start, dtype=torch.float64).clone())
    if not cyclic:
        return _iterated(model, x)
    state = torch.stack([x, model.protein_at_rest(x)]) if model.layered else x[None]
    state, mean = _integrate(model, state)
    quiet = (model.slope(state).abs() <= SETTLED * (1 + state.abs())).all(0).all(1)
    settled = np.array([bool(quiet[list(rows.values())].all()) for rows in model.program.row_of])
    last = _newton(model, model.held(state[0]), settled)
    _require_stable(model, last, settled)
    level = torch.where(torch.as_tensor(settled[model.program.condition])[:, None], last, mean[0])
    return Rest(level.numpy(), settled, last.numpy())


def _iterated(model: Deterministic, x: Tensor) -> Rest:
    for _ in range(model.program.n_genes + 2):
        new = model.held(model.production(model.protein_at_rest(x)) / model.decay)
        if torch.equal(new, x):
            break
        x = new
    return Rest(x.numpy(), np.ones(len(model.program.row_of), dtype=bool), x.numpy())


_A = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def _integrate(model: Deterministic, state: Tensor) -> tuple[Tensor, Tensor]:
    """Dormand & Prince 5(4), rtol 1e-6, until nothing moves or time is up: (end state, mean over the second half)."""
    horizon = TIMES_SLOWEST / float(min(model.decay.min(), model._lost.min()))
    t, step = 0.0, 0.1 / float(max(model.decay.max(), model._lost.max()))
    slope = model.slope(state)
    area, measured = torch.zeros_like(state), 0.0
    while t < horizon:
        stages = [slope]
        for row in _A[1:]:
            stages.append(model.slope(state + step * _combined(row, stages)))
        new = (state + step * _combined(_A[6], stages)).clamp_min(0)
        error = (step * _combined(_ERROR, stages)).abs() / (
            1e-8 + 1e-6 * torch.maximum(state.abs(), new.abs())
        )
        worst = float(error.max())
        if worst <= 1:
            if t > horizon / 2:
                area += step * (state + new) / 2
                measured += step
            t, state, slope = t + step, new, model.slope(new)
            if bool((slope.abs() <= SETTLED * (1 + state.abs())).all()):
                return state, state
        step *= min(5.0, max(0.2, 0.9 * max(worst, 1e-10) ** -0.2))
    return state, area / max(measured, 1e-300)


def _combined(weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    total = torch.zeros_like(stages[0])
    for w, k in zip(weights, stages, strict=False):
        if w:
            total = total + w * k
    return total


def _newton(model: Deterministic, x: Tensor, settled: NDArray[np.bool_]) -> Tensor:
    """X with the rows of settled conditions polished until their residual vanishes."""
    rows = [sorted(r.values()) for r in model.program.row_of]
    chosen = torch.as_tensor(settled[model.program.condition])[:, None]
    for _ in range(20):
        gap = torch.where(chosen, model.residual(x), torch.zeros_like(x))
        if bool((gap.abs() <= 0.01 * REST * (1 + model.decay * x)).all()):
            break
        new = x.clone()
        for c, t, jacobian in model.production_jacobian(model.protein_at_rest(x)):
            if not settled[c]:
                continue
            own = rows[c]
            gain = (
                (model._made / model._lost)[own, 0] if model.layered else torch.ones(len(own), dtype=x.dtype)
            )
            matrix = jacobian * gain - torch.diag(model.decay[own, 0])
            new[own, t] -= torch.linalg.solve(matrix, gap[own, t])
        x = model.held(new.clamp_min(0))
    gap = torch.where(chosen, model.residual(x), torch.zeros_like(x))
    if not bool((gap.abs() <= REST * (1 + model.decay * x.abs())).all()):
        raise NoSteadyStateError(
            f"the deterministic state does not converge (residual {float(gap.abs().max()):.2g}); use cle or leap"
        )
    return x


def full_jacobian(model: Deterministic, production: Tensor, rows: list[int]) -> Tensor:
    """The Jacobian of (x, or x and protein) of one condition, from d(scale P)/dy over its rows."""
    decay = torch.diag(model.decay[rows, 0])
    if not model.layered:
        return production - decay
    top = torch.cat([-decay, production], dim=1)
    bottom = torch.cat([torch.diag(model._made[rows, 0]), -torch.diag(model._lost[rows, 0])], dim=1)
    return torch.cat([top, bottom])


def _require_stable(model: Deterministic, x: Tensor, settled: NDArray[np.bool_]) -> None:
    rows = [sorted(r.values()) for r in model.program.row_of]
    for c, t, production in model.production_jacobian(model.protein_at_rest(x)):
        if not settled[c]:
            continue
        largest = float(torch.linalg.eigvals(full_jacobian(model, production, rows[c])).real.max())
        if largest >= 0:
            raise NoSteadyStateError(
                f"condition {model.program.conditions[c]!r}, type {t}: the steady state is not stable "
                f"(largest Re eig {largest:.3g}); give `init` away from the saddle, or use cle or leap"
            )


def _column(values: Floats) -> Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float64))[:, None]
