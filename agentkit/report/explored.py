"""The part of a report that is not evidence: what was explored, with figures that describe the explored units."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

from agentkit.report.canvas import drawn
from agentkit.report.document import Block, Heading, Inline, Paragraph, Picture, Table, code, text
from agentkit.report.dose_response import OVERLAID, Panel, dose_response
from agentkit.report.exploration import (
    DOSE,
    curves,
    dose_levels,
    head_differences,
    head_sites,
    level_of,
    main_metric,
    most_moved,
    shifts,
    sites_with_verdicts,
)
from agentkit.report.facts import canonical
from agentkit.report.head_map import head_map
from agentkit.report.numbers import MINUS, NONE, decimals_for, fixed, interval, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agentkit.measurements import Measurements
    from agentkit.report.exploration import Bounds, Shift, Site
    from agentkit.report.facts import Exploration, Facts, Finding

MOST_ROWS = 40
MOST_METRICS = 4
MOST_REFERENCES = 2
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
        yield from run.pages


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
    others = [m for m in table.metrics if m != metric]
    if curves(table, metric):
        yield _dose_picture(run, table, metric, findings)
    maps = head_sites([row.condition for row in rows])
    for i, (variant, sites) in enumerate(maps.items()):
        name = f"heads-{run.ref}" + (f"-{i + 1}" if len(maps) > 1 else "")
        yield _head_picture(name, run, rows, metric, variant, sites, findings)
    if family := run.family_p.get(metric):
        yield _family_table(rows, metric, family)
    else:
        drawn = {condition for sites in maps.values() for condition in sites.values()}
        if rest := [row for row in rows if row.condition not in drawn]:
            yield _shift_table(rest, metric)
    if found := [(m, moved) for m in others if (moved := most_moved(table, m))]:
        yield _others_table(found)


def _bounds(run: Exploration, metric: str, findings: Sequence[Finding]) -> Bounds:
    """The metric's declared range, as far as some frozen claim about it recorded it."""
    return next((f.metric_range for f in findings if (f.tool, f.metric) == (run.tool, metric)), (None, None))


def _dose_picture(run: Exploration, table: Measurements, metric: str, findings: Sequence[Finding]) -> Picture:
    ordered = [metric, *(m for m in table.metrics if m != metric)][:MOST_METRICS]
    others = [c for c in table.conditions[1:] if not DOSE.fullmatch(c)]
    references = others if len(others) <= MOST_REFERENCES else []
    if len(dose_levels(table.conditions)) > OVERLAID:  # a panel per kind: one metric is enough to look at
        ordered = ordered[:1]
    panels = [
        Panel(name, found, [level_of(table, name, c) for c in references])
        for name in ordered
        if (found := curves(table, name, _bounds(run, name, findings)))
    ]
    kinds = ", ".join(curve.kind for curve in panels[0].curves)
    dotted = f" Dotted: {', '.join(references)}." if references else ""
    return Picture(
        f"dose-{run.ref}",
        drawn(dose_response, panels),
        f"Dose-response of {metric} to {kinds}: mean per level with a descriptive interval.",
        text(
            f"Exploratory, {run.ref}, {run.units} units. Points: mean over units of each level; bars and band: {T_INTERVAL}, "
            f"each level by itself (descriptive). Dashed: the untouched target, drawn at strength 0.{dotted}"
        ),
        min_width=520,
    )


def _head_picture(
    name: str,
    run: Exploration,
    rows: Sequence[Shift],
    metric: str,
    variant: str,
    sites: Mapping[Site, str],
    findings: Sequence[Finding],
) -> Picture:
    tested = sites_with_verdicts(findings, run.tool, metric, run.params, sites)
    marks = {place: (finding.ref, finding.label) for place, finding in tested.items()}
    units = sorted({row.units for row in rows if row.condition in sites.values()})
    n = f"{units[0]}" if len(units) == 1 else f"{units[0]} to {units[-1]}"
    how = text(" (", code(variant), ")") if variant else ()
    spread = [
        row.half_width for row in rows if row.condition in sites.values() and row.half_width is not None
    ]
    doubt = (
        f" Median half-width of a cell's 95 % Student-t interval over units: {number(statistics.median(spread), 2)}."
        if spread
        else ""
    )
    marked = " Outlined heads carry a hypothesis, tested on other seeds; its verdict is in the table above."
    return Picture(
        name,
        drawn(head_map, head_differences(rows, sites), metric, marks),
        f"Layer by head map of the mean difference in {metric} to baseline {variant}".strip() + ".",
        text(
            f"Exploratory, {run.ref}, {n} units a head: mean over units of ", code(metric),
            " with the head perturbed", how, f" minus baseline.{doubt}{marked if tested else ''}",
        ),
        min_width=600,
    )  # fmt: skip


def _shift_table(rows: Sequence[Shift], metric: str) -> Table:
    """Levels and paired differences; the first conditions in the tool's order where they are many."""
    kept = rows[:MOST_ROWS]
    more = f" The first {MOST_ROWS} of {len(rows)} conditions." if len(rows) > MOST_ROWS else ""
    return Table(
        ("Condition", f"Mean {metric}", "Minus baseline", "95 % t interval", "Units"),
        tuple(_shift_row(row, _decimals(kept)) for row in kept),
        numeric=frozenset({1, 2, 3, 4}),
        caption=f"Exploratory. Differences are paired by unit; {T_INTERVAL} (descriptive, not adjusted).{more}",
    )


def _family_table(rows: Sequence[Shift], metric: str, family: Mapping[str, float]) -> Table:
    """The table above for a sweep that is one family; the conditions of smallest p where they are many."""
    telling = sorted(rows, key=lambda row: family[row.condition])[:MOST_ROWS]
    kept = [row for row in rows if row in telling]
    table = _shift_table(kept, metric)
    more = f" The {MOST_ROWS} of smallest p among {len(rows)} conditions." if len(rows) > MOST_ROWS else ""
    return replace(
        table,
        columns=(*table.columns, "Family p"),
        rows=tuple(
            (*cells, text(number(family[row.condition], 2)))
            for cells, row in zip(table.rows, kept, strict=True)
        ),
        numeric=table.numeric | {len(table.columns)},
        caption=f"{table.caption} Family p: adjusted over all {len(family)} conditions (maxT, joint sign flips of "
        f"units); it chose claims and is no verdict.{more}",
    )


def _others_table(found: Sequence[tuple[str, Shift]]) -> Table:
    """One row a metric that the tables above leave out."""
    return Table(
        ("Other metric", "Moved most", "Its mean", "Minus baseline", "95 % t interval", "Units"),
        tuple(_other_row(metric, moved) for metric, moved in found),
        numeric=frozenset({2, 3, 4, 5}),
        caption="Exploratory. Of each other metric the condition whose mean lies farthest from baseline: picked because "
        "it is, and so biased.",
    )


def _other_row(metric: str, moved: Shift) -> tuple[Inline, ...]:
    if moved.level.is_integer() and moved.mean.is_integer():  # counts, bytes
        level, mean = (f"{v:,.0f}".replace("-", MINUS) for v in (moved.level, moved.mean))
    else:
        level, mean = (fixed(v, _decimals([moved])) for v in (moved.level, moved.mean))
    _, _, _, doubt, units = _shift_row(moved, _decimals([moved]))
    return text(code(metric)), text(code(moved.condition)), text(level), text(mean), doubt, units


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
