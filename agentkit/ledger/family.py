"""A sweep as one family: p-values that hold over all its conditions at once. They choose claims and are never evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agentkit.stats.fixed import max_t
from agentkit.types import BASELINE

if TYPE_CHECKING:
    from agentkit.ledger.runs import Run

FEWEST_UNITS = 2


def family_p(run: Run, metric: str) -> dict[str, float]:
    """Per condition of an explore run: p-value of its difference to baseline, adjusted over the metric's conditions.

    Westfall-Young maxT by joint sign flips of units (`stats.fixed.max_t`), which controls the chance of any false
    mark in the family. A unit without a value stands still: it counts as 0 under every flip. The flips are drawn
    from the run's own seeds, so the same run has the same p-values everywhere. Empty with fewer than two units.
    """
    table = run.measurements()
    columns = {c: table.column(metric, c) - table.column(metric, BASELINE) for c in table.conditions[1:]}
    measured = {c: np.nan_to_num(d) for c, d in columns.items() if np.isfinite(d).any()}
    if len(table.units) < FEWEST_UNITS or not measured:
        return {}
    flips = np.random.default_rng([unit.seed for unit in run.units])
    scan = max_t(np.column_stack(list(measured.values())), flips)
    return dict(zip(measured, map(float, scan.p_values), strict=True))
