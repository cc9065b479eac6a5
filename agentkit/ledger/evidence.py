"""From stored outcomes to differences and verdicts: reading only, and the same numbers for the same rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from agentkit.canon import sha256_of
from agentkit.ledger.runs import MEASUREMENT, OUTCOME, RUN_UNIT
from agentkit.stats.verdicts import judge_campaign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agentkit.ledger.spec import Spec
    from agentkit.stats.verdicts import Verdict

_UNITS = (
    sa.select(RUN_UNIT.c.unit, RUN_UNIT.c.seed, RUN_UNIT.c.run, OUTCOME.c.id, OUTCOME.c.status)
    .outerjoin(OUTCOME, sa.and_(OUTCOME.c.run == RUN_UNIT.c.run, OUTCOME.c.unit == RUN_UNIT.c.unit))
    .where(RUN_UNIT.c.hypothesis == sa.bindparam("hypothesis"))
    .order_by(RUN_UNIT.c.unit)
)
_VALUES = (
    sa.select(MEASUREMENT.c.outcome, MEASUREMENT.c.condition, MEASUREMENT.c.value)
    .join(OUTCOME, OUTCOME.c.id == MEASUREMENT.c.outcome)
    .join(RUN_UNIT, sa.and_(OUTCOME.c.run == RUN_UNIT.c.run, OUTCOME.c.unit == RUN_UNIT.c.unit))
    .where(
        RUN_UNIT.c.hypothesis == sa.bindparam("hypothesis"),
        OUTCOME.c.status == "ok",
        MEASUREMENT.c.metric == sa.bindparam("metric"),
        MEASUREMENT.c.condition.in_(sa.bindparam("conditions", expanding=True)),
    )
)


@dataclass
class Sample:
    """The units of one hypothesis that may be looked at, in unit order.

    `values` holds D (0 at failed units), `failed` marks units without one; `invalid` says why the rows themselves
    make the hypothesis invalid, or is None; `sha256` is the hash of all of it; `log_e` is filled in when first asked.
    """

    values: NDArray[np.float64]
    failed: NDArray[np.bool_]
    invalid: str | None
    sha256: str
    log_e: float | None = None


def sample_of(connection: sa.Connection, hypothesis: int, spec: Spec) -> Sample:
    """The visible units of a hypothesis: those before the first that was dispatched and has no outcome.

    The units of one run become visible together. Whoever may see a later unit before an earlier one could stop on
    what the evidence does not contain yet.
    """
    units = _visible(connection.execute(_UNITS, {"hypothesis": hypothesis}).all())
    measured: dict[int, dict[str, float]] = {}
    asked = {"hypothesis": hypothesis, "metric": spec.metric, "conditions": spec.tested_sites()}
    for outcome, condition, value in connection.execute(_VALUES, asked):
        measured.setdefault(outcome, {})[condition] = value
    values, failed, record = np.zeros(len(units)), np.ones(len(units), dtype=np.bool_), []
    for i, unit in enumerate(units):
        difference = _difference(spec, measured[unit.id]) if unit.status == "ok" else None
        if difference is not None:
            values[i], failed[i] = difference, False
        record.append([unit.unit, unit.seed, unit.status, difference])
    broken = any(unit.status == "out_of_range" for unit in units)
    return Sample(values, failed, "range" if broken else None, sha256_of([spec.sha256, record]))


def _visible(units: Sequence[Any]) -> list[Any]:
    open_runs = {unit.run for unit in units if unit.id is None}
    for i, unit in enumerate(units):
        if unit.run in open_runs:
            return list(units[:i])
    return list(units)


def _difference(spec: Spec, measured: dict[str, float]) -> float:
    return (
        math.fsum(coefficient * measured[condition] for condition, coefficient in spec.contrast.items()) + 0.0
    )


def verdicts_of(
    specs: Sequence[Spec], samples: Sequence[Sample], weights: Sequence[float], alpha: float
) -> list[Verdict]:
    """What a campaign's closed hypotheses have shown; a pure function of the rows."""
    if not specs:
        return []
    return judge_campaign(
        [spec.claim for spec in specs],
        [sample.values for sample in samples],
        [sample.failed for sample in samples],
        list(weights),
        [True] * len(specs),
        [sample.invalid for sample in samples],
        alpha,
    )
