"""Whether a table may become an outcome: asked by the worker before it sends, and by the driver before it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentkit.errors import MeasurementError
from agentkit.types import BASELINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.measurements import Measurements
    from agentkit.tools import Tool
    from agentkit.types import Unit

ROUNDING = 1e-12
"""Share of a range's larger end by which a value may pass it."""


def check_table(tool: Tool, table: object, units: Sequence[Unit]) -> Measurements:
    """`table`, if it is one about exactly these units and the tool's metrics.

    Raises:
        MeasurementError: it is something else, names foreign units or metrics, or lacks a unit's baseline.
    """
    from agentkit.measurements import Measurements

    if not isinstance(table, Measurements):
        raise MeasurementError(f"{tool.name} returned a {type(table).__name__}; return Measurements")
    tool.check(table, units)
    present = {row.unit for row in table.rows() if row.condition == BASELINE}
    if missing := sorted({u.index for u in units} - present):
        raise MeasurementError(f"{tool.name} measured no baseline for units {missing}")
    return table


def out_of_range(tool: Tool, table: Measurements) -> dict[int, str]:
    """By unit, the first value outside its metric's declared range, or a baseline that is not the declared one.

    The tool's `atol` and the rounding of the range's ends are forgiven, nothing else: evidence for a bounded
    mean relies on the range.
    """
    faults: dict[int, str] = {}
    metrics = {m.name: m for m in tool.metrics}
    for unit, condition, name, value in table.rows():
        metric = metrics[name]
        slack = max(tool.atol, ROUNDING * max(abs(metric.low or 0), abs(metric.high or 0)))
        if not metric.contains(value, slack=slack):
            fault = f"{name} is {value!r} in condition {condition!r}; declared: {metric}"
        elif (
            condition == BASELINE and metric.baseline is not None and abs(value - metric.baseline) > tool.atol
        ):
            fault = f"{name} of the untouched target is {value!r}; declared: {metric}"
        else:
            continue
        faults.setdefault(unit, fault)
    return faults
