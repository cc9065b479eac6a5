"""Splitting a sweep over workers by units and by conditions, and putting it together again.

Where a table was cut never shows: it is sorted by unit, condition and metric, not by arrival, and the baseline
that two blocks both computed must agree.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from agentkit.errors import NondeterministicError
from agentkit.types import BASELINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agentkit.measurements import Measurements
    from agentkit.workers.job import JobSpec

JOB_S = 10.0
"""How long a shard should take: long against a message, short against a sweep."""

JOBS_PER_WORKER = 4
"""At least so many shards for each worker, so that the last one does not wait long."""


def plan_shards(
    job: JobSpec,
    *,
    workers: int,
    seconds_per_unit: float | None = None,
    splits_conditions: bool = False,
    job_s: float = JOB_S,
) -> tuple[JobSpec, ...]:
    """The jobs that together answer `job`; units in order, and blocks of conditions when units are few.

    Args:
        job: the whole question.
        workers: how many can run at once.
        seconds_per_unit: measured or declared cost of one unit with all its conditions.
        splits_conditions: whether the tool says so of itself; conditions are split only when the job names them.
        job_s: seconds a shard should take, 1 to 60.
    """
    units, at_once = len(job.units), max(1, workers)
    most = max(1, units // (JOBS_PER_WORKER * at_once))
    wanted = most if not seconds_per_unit else round(job_s / seconds_per_unit)
    step = min(max(wanted, 1), most)
    groups = [job.units[i : i + step] for i in range(0, units, step)]
    blocks = _blocks(job, math.ceil(at_once / units) if units < at_once and splits_conditions else 1)
    return tuple(
        job.model_copy(update={"units": group, "conditions": block}) for group in groups for block in blocks
    )


def _blocks(job: JobSpec, count: int) -> list[tuple[str, ...] | None]:
    """The job's conditions in `count` blocks of nearly equal length; baseline is added to each by the worker."""
    if job.conditions is None or count <= 1:
        return [job.conditions]
    names = [c for c in job.conditions if c != BASELINE]
    count = min(count, len(names))
    if count <= 1:
        return [job.conditions]
    cuts = [round(i * len(names) / count) for i in range(count + 1)]
    return [tuple(names[a:b]) for a, b in pairwise(cuts)]


def merge(
    parts: Iterable[Measurements],
    *,
    conditions: Sequence[str] | None = None,
    atol: float = 0.0,
) -> Measurements:
    """One table from the tables of a sweep's shards, the same whatever order they come in.

    Args:
        parts: tables of some units and some conditions; only `baseline` may be in several blocks of one unit.
        conditions: their order in the result, as the tool was asked; without it, sorted by name.
        atol: how far two computations of one value may differ. The value of the block that comes first in the
            conditions' order is kept.

    Raises:
        NondeterministicError: two blocks differ by more (a tool that is not what it says it is).
    """
    from agentkit.measurements import Measurements

    rank = {name: i for i, name in enumerate(conditions or ())}

    def place(name: str) -> tuple[int, str]:
        return (-1, "") if name == BASELINE else (rank.get(name, len(rank)), name)

    ordered = sorted(parts, key=lambda t: [place(c) for c in t.conditions[1:]])
    cells: dict[tuple[int, str, str], float] = {}
    for part in ordered:
        for row in part.rows():
            kept = cells.setdefault(row[:3], row.value)
            if kept != row.value and not abs(kept - row.value) <= atol:
                raise NondeterministicError(
                    f"{row.metric!r} of {row.condition!r}, unit {row.unit} is {kept!r} in one block and "
                    f"{row.value!r} in another; the tool allows {atol:g} (atol). Its version cannot be trusted"
                )
    in_order = sorted(cells, key=lambda cell: (cell[0], place(cell[1]), cell[2]))
    return Measurements.from_rows((*cell, cells[cell]) for cell in in_order)
