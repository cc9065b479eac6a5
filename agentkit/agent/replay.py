"""Run recorded units of a hypothesis again, from the rows alone, and compare; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit.agent.driver import job_of
from agentkit.errors import SpecError, WorkerError
from agentkit.measurements import Measurements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.ledger import Hypothesis, Run
    from agentkit.plugins import Plugins
    from agentkit.tools import Tool
    from agentkit.types import Unit
    from agentkit.workers import Executor


@dataclass(frozen=True)
class Replay:
    """What running units again gave: the largest difference to the record, and what the tool allows."""

    hypothesis: str
    units: int
    values: int
    largest_difference: float
    atol: float

    @property
    def equal(self) -> bool:
        """Whether every value is within the tool's own tolerance (0 promises bit-equality)."""
        return self.largest_difference <= self.atol


def replay(hypothesis: Hypothesis, units: int, *, plugins: Plugins, executor: Executor) -> Replay:
    """Measure the first `units` ok units of a hypothesis again on their recorded seeds.

    Raises:
        SpecError: the hypothesis has no ok units, or its tool is another version or source than was frozen.
        WorkerError: a unit that was ok cannot be measured now.
    """
    spec = hypothesis.spec
    tool = _same_tool(plugins, spec)
    largest, values, done = 0.0, 0, 0
    for run in (r for r in hypothesis.campaign.runs("confirm") if r.hypothesis_id == hypothesis.id):
        ok = [u for u in run.units if run.outcomes().get(u.index) == "ok"][: units - done]
        if not ok:
            continue
        recorded = run.measurements().select(units=[u.index for u in ok])
        difference, count = compare(recorded, measure(run, tool, ok, executor))
        largest, values, done = max(largest, difference), values + count, done + len(ok)
    if not done:
        raise SpecError(f"{hypothesis.ref} has no measured units yet; run a batch first")
    return Replay(hypothesis.ref, done, values, largest, tool.atol)


def _same_tool(plugins: Plugins, spec: Any) -> Tool:
    tool = plugins.tool(spec.tool)
    if (tool.version, tool.source_sha256) != (spec.tool_version, spec.source_sha256):
        raise SpecError(
            f"registered {spec.tool} {spec.tool_version} (source {spec.source_sha256[:12]}…), "
            f"installed is {tool.version} ({tool.source_sha256[:12]}…); install {spec.distribution} "
            f"{spec.distribution_version} as it was to replay"
        )
    return tool


def measure(run: Run, tool: Tool, units: Sequence[Unit], executor: Executor) -> Measurements:
    """Recorded units of a run once more; nothing is written.

    Raises:
        WorkerError: a unit cannot be measured now.
    """
    executor.submit(job_of(run, tool, units))
    tables: list[Measurements] = []
    while True:
        for event in executor.events(0.5):
            if event.kind == "units" and event.data["status"] == "ok":
                tables.append(event.table())
            elif event.kind == "end":
                if sum(len(t.units) for t in tables) != len(units):
                    raise WorkerError(
                        f"{run.ref} cannot be measured again: {event.data.get('message') or 'see its log'}"
                    )
                return Measurements.concat(tables)


def compare(recorded: Measurements, again: Measurements) -> tuple[float, int]:
    """The largest difference between two tables of the same units, and how many values were compared."""
    largest, count = 0.0, 0
    for metric in recorded.metrics:
        for condition in recorded.conditions:
            one, other = recorded.column(metric, condition), again.column(metric, condition)
            known = np.isfinite(one)
            count += int(known.sum())
            if known.any():
                largest = max(largest, float(np.abs(one - other)[known].max()))
    return largest, count
