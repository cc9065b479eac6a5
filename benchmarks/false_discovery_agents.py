"""Scripted agents of FalseDiscoveryBench: how each looks at an idea's units, and what p-value it then reports.

All work on many campaigns at once: `values` (campaign, metric, unit), `ok` (campaign, unit). A claim says that D is
positive; the naive agent claims whatever direction it sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
LEVEL = 0.05
LOOKS = 10
LEAST_UNITS = 4
TRIES = 5


@dataclass(frozen=True)
class Report:
    """What agents say about one idea in each campaign: p, the direction claimed, and what it cost."""

    p: Floats
    up: Bools
    units: Ints
    runs: Ints


@dataclass(frozen=True)
class Agent:
    """One way of working.

    Attributes:
        name: how the table calls it.
        block: most units it spends on an idea when nothing but its own p-value guards it.
        analyse: from a block of units to a report.
        claims: hypotheses that it registers for one idea when only the ledger gives verdicts: one for each thing it
            would have looked at, read from `metrics`, on units of its own.
        cap: most units of each such hypothesis.
        direction: `greater` or `two_sided`.
        patient: whether it closes what looks futile, as the house's own planner does.
        imputes: whether failed units count as the worst case (all others leave them out).
        shares: whether it keeps claims open and gives its units (`block` an idea, on the whole) to the most promising.
    """

    name: str
    block: int
    analyse: Callable[[Floats, Bools], Report]
    claims: int = 1
    metrics: tuple[int, ...] = (0,)
    cap: int = 100
    direction: str = "greater"
    patient: bool = False
    imputes: bool = False
    shares: bool = False


def t_p(values: Floats, ok: Bools, *, two_sided: bool = False) -> tuple[Floats, Bools]:
    """One-sample t test of mean 0 along the last axis over ok units: p (1 where there is no spread), and mean > 0."""
    from scipy.special import stdtr

    keep = np.broadcast_to(ok, values.shape)
    n = keep.sum(axis=-1)
    mean = np.where(keep, values, 0.0).sum(axis=-1) / np.maximum(n, 1)
    squares = np.where(keep, (values - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / np.sqrt(squares / (n - 1) / n)
        p = 2 * stdtr(n - 1, -np.abs(t)) if two_sided else stdtr(n - 1, -t)
    return np.where((squares > 0) & (n > 1), p, 1.0), mean > 0


def _best(p_values: Sequence[Floats], ups: Sequence[Bools]) -> tuple[Floats, Bools]:
    """The smallest of several p-values and its direction."""
    p, up = np.array(p_values), np.array(ups)
    best = p.argmin(axis=0)
    return np.take_along_axis(p, best[None], 0)[0], np.take_along_axis(up, best[None], 0)[0]


def _full(values: Floats, p: Floats, up: Bools, runs: int) -> Report:
    campaigns, _, units = values.shape
    return Report(p, up, np.full(campaigns, units), np.full(campaigns, runs))


def once(values: Floats, ok: Bools) -> Report:
    """One metric, one test, all units."""
    return _full(values, *t_p(values[:, 0], ok), runs=1)


def best_metric(values: Floats, ok: Bools) -> Report:
    """The best of three metrics."""
    p, up = t_p(values, ok[:, None])
    return _full(values, *_best(list(p.T), list(up.T)), runs=1)


def best_subset(values: Floats, ok: Bools) -> Report:
    """All units, then halves, odd and even ones, and all but the worst tenth; the best is reported."""
    units = np.arange(values.shape[-1])
    half = len(units) // 2
    D = values[:, 0]
    cut = np.sort(D, axis=1)[:, len(units) // 10 - 1 : len(units) // 10] if len(units) >= 10 else -np.inf
    subsets = [units >= 0, units < half, units >= half, units % 2 == 0, units % 2 == 1]
    results = [t_p(D, ok & s) for s in (*subsets, cut < D)]
    return _full(values, *_best([p for p, _ in results], [up for _, up in results]), runs=1)


def best_hidden(values: Floats, ok: Bools) -> Report:
    """Nine analyses of the same units (three metrics; all, the first and the last 60 %), of which one is shown."""
    units = np.arange(values.shape[-1]) / values.shape[-1]
    results = [
        t_p(values[:, metric], ok & part)
        for metric in range(values.shape[1])
        for part in (units >= 0, units < 0.6, units >= 0.4)
    ]
    return _full(values, *_best([p for p, _ in results], [up for _, up in results]), runs=1)


def peek(values: Floats, ok: Bools) -> Report:
    """One metric, looked at ten times; stops when it pleases."""
    return _looking(values, lambda part, good: t_p(part[:, 0], good), ok)


def peek_all(values: Floats, ok: Bools) -> Report:
    """Three metrics in both directions, looked at ten times; stops when any pleases."""

    def best(part: Floats, good: Bools) -> tuple[Floats, Bools]:
        p, up = t_p(part, good[:, None], two_sided=True)
        return _best(list(p.T), list(up.T))

    return _looking(values, best, ok)


def _looking(values: Floats, test: Callable[[Floats, Bools], tuple[Floats, Bools]], ok: Bools) -> Report:
    campaigns, _, units = values.shape
    ends = sorted({max(LEAST_UNITS, units * look // LOOKS) for look in range(1, LOOKS + 1)})
    p, up = np.ones(campaigns), np.ones(campaigns, np.bool_)
    used, runs = np.zeros(campaigns, np.int64), np.zeros(campaigns, np.int64)
    going = np.ones(campaigns, np.bool_)
    for end in ends:
        seen, direction = test(values[:, :, :end], ok[:, :end])
        p, up = np.where(going, seen, p), np.where(going, direction, up)
        used, runs = np.where(going, end, used), runs + going
        going &= p >= LEVEL
    return Report(p, up, used, runs)


def retry(values: Floats, ok: Bools) -> Report:
    """Five tries on fresh units, until one pleases; the others are forgotten."""
    campaigns, _, units = values.shape
    each = units // TRIES
    p, up = np.ones(campaigns), np.ones(campaigns, np.bool_)
    runs, going = np.zeros(campaigns, np.int64), np.ones(campaigns, np.bool_)
    for start in range(0, each * TRIES, each):
        seen, direction = t_p(values[:, 0, start : start + each], ok[:, start : start + each])
        better = going & (seen < p)
        p, up = np.where(better, seen, p), np.where(better, direction, up)
        runs += going
        going &= p >= LEVEL
    return Report(p, up, runs * each, runs)


AGENTS = (
    Agent("honest", 100, once, cap=200, patient=True, imputes=True),
    Agent("naive", 200, peek_all, claims=3, metrics=(0, 1, 2), cap=200, direction="two_sided"),
    Agent("peeks", 200, peek, cap=200),
    Agent("subsets", 100, best_subset, claims=6, metrics=(0,) * 6),
    Agent("swaps metrics", 100, best_metric, claims=3, metrics=(0, 1, 2)),
    Agent("retries", 200, retry, claims=TRIES, metrics=(0,) * TRIES, cap=40),
    Agent("hides analyses", 100, best_hidden, claims=9, metrics=(0, 1, 2) * 3),
)
SHARER = Agent("honest, shares units", 100, once, cap=200, imputes=True, shares=True)
"""The honest agent at the cost of the fixed-n analysis, which only a verdict that may be peeked at allows."""
DROPPER = Agent("drops failed", 100, once)
"""Only where units fail."""
