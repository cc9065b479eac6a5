"""The part of a report that is not evidence: what was explored, with figures that describe the explored units."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from agentkit.report.canvas import to_svg
from agentkit.report.document import Block, Heading, Inline, Paragraph, Picture, Table, code, text
from agentkit.report.dose_response import dose_response
from agentkit.report.exploration import (
    Shift,
    curves,
    head_differences,
    head_sites,
    main_metric,
    shifts,
    tested_heads,
)
from agentkit.report.facts import canonical
from agentkit.report.head_map import head_map
from agentkit.report.numbers import NONE, decimals_for, fixed, interval
from agentkit.types import BASELINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agentkit.measurements import Measurements
    from agentkit.report.facts import Exploration, Facts, Finding

MOST_ROWS = 40
MOST_METRICS = 4
T_INTERVAL = "95 % Student-t interval of the mean over units"


def section(facts: Facts) -> Iterator[Block]:
    """Every explore run in order, each under its own heading."""
    yield Heading(2, text("Exploration (exploratory, not evidence)"))
    if not facts.explorations:
        yield Paragraph(text("Nothing was explored in this campaign."))
        return
    yield Paragraph(
        text(
            "These runs chose what to test. Their numbers describe the explored units, were looked at freely and are "
            "biased for whatever was picked from them; only the verdicts above are evidence, and they used other seeds."
        ),
        note=True,
    )
    for run in facts.explorations:
        yield from _run(run, facts.findings)


def _run(run: Exploration, findings: Sequence[Finding]) -> Iterator[Block]:
    yield Heading(3, text(f"{run.ref}: ", code(run.tool)))
    failed = f", {run.failed} failed" if run.failed else ""
    yield Paragraph(text(f"{run.units} units{failed}; params ", code(canonical(run.params)), "."))
    table = run.measurements
    if table is None or len(table.conditions) < 2:
        yield Paragraph(text("No measurements came back."))
        return
    metric = main_metric(table, run.tool, findings)
    rows = shifts(table, metric)
    found = curves(table, metric, _bounds(run, metric, findings))
    sites = head_sites([row.condition for row in rows])
    if found:
        yield _dose_picture(run, table, metric, findings)
    if sites:
        yield _head_picture(run, rows, metric, findings)
    if len(sites) < len(rows):
        drawn = set(sites.values())
        yield _shift_table([row for row in rows if row.condition not in drawn], metric)


def _bounds(run: Exploration, metric: str, findings: Sequence[Finding]) -> tuple[float | None, float | None]:
    """The metric's declared range, as far as some frozen claim about it recorded it."""
    return next((f.metric_range for f in findings if (f.tool, f.metric) == (run.tool, metric)), (None, None))


def _dose_picture(run: Exploration, table: Measurements, metric: str, findings: Sequence[Finding]) -> Picture:
    ordered = [metric, *(m for m in table.metrics if m != metric)][:MOST_METRICS]
    drawn = {name: curves(table, name, _bounds(run, name, findings)) for name in ordered}
    panels = [(name, found) for name, found in drawn.items() if found]
    kinds = ", ".join(curve.kind for curve in panels[0][1])
    return Picture(
        f"dose-{run.ref}",
        to_svg(dose_response(panels)),
        f"Dose-response of {metric} to {kinds}: mean per level with a descriptive interval.",
        text(
            f"Exploratory, {run.ref}, {run.units} units. Points: mean over units of each level; bars and band: {T_INTERVAL}, "
            "each level by itself (descriptive). Dashed: the untouched target, drawn at strength 0."
        ),
        min_width=520,
    )


def _head_picture(
    run: Exploration, rows: Sequence[Shift], metric: str, findings: Sequence[Finding]
) -> Picture:
    tested = tested_heads(findings, run.tool, metric, run.params)
    marks = {place: (finding.ref, finding.label) for place, finding in sorted(tested.items())}
    units = sorted({row.units for row in rows})
    n = f"{units[0]}" if len(units) == 1 else f"{units[0]} to {units[-1]}"
    outlined = (
        " Outlined heads carry a hypothesis, tested on other seeds; its verdict is in the table above."
        if marks
        else ""
    )
    return Picture(
        f"heads-{run.ref}",
        to_svg(head_map(head_differences(rows), metric, marks)),
        f"Layer by head map of the mean difference in {metric} to baseline.",
        text(
            f"Exploratory, {run.ref}, {n} units a head: mean over units of ", code(metric),
            f" with the head perturbed minus baseline.{outlined}",
        ),
        min_width=600,
    )  # fmt: skip


def _shift_table(rows: Sequence[Shift], metric: str) -> Table:
    """Levels and paired differences; the first conditions in the tool's order where they are many."""
    kept = rows[:MOST_ROWS]
    more = f" The first {MOST_ROWS} of {len(rows)} conditions." if len(rows) > MOST_ROWS else ""
    return Table(
        ("Condition", f"Mean {metric}", f"Minus {BASELINE}", "95 % t interval", "Units"),
        tuple(_shift_row(row, _decimals(kept)) for row in kept),
        numeric=frozenset({1, 2, 3, 4}),
        caption=f"Exploratory. Differences are paired by unit; {T_INTERVAL} (descriptive, not adjusted).{more}",
    )


def _decimals(rows: Sequence[Shift]) -> int:
    """One precision for the whole column: two digits of the median half-width."""
    return decimals_for(statistics.median(row.half_width or abs(row.mean) for row in rows))


def _shift_row(row: Shift, decimals: int) -> tuple[Inline, ...]:
    return (
        text(code(row.condition)),
        text(fixed(row.level, decimals)),
        text(fixed(row.mean, decimals)),
        text(NONE if row.half_width is None else interval(row.lo, row.hi, decimals)),
        text(str(row.units)),
    )
