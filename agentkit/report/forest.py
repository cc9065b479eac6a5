"""The forest plot: one row per verdict with its estimate, its interval and the band of the smallest effect of interest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agentkit.report.canvas import BAND, FAINT, GRID, INK, LOOKS, WIDTH, drawable, handle, new_figure, tidy
from agentkit.report.claims import numbers_of, short_contrast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agentkit.report.facts import Finding

ROW_INCHES = 0.36
LONGEST_NAME = 30
MARGIN = 0.06
FREE_END = {"less": "lo", "greater": "hi"}
"""The end that a one-sided interval leaves at the metric's range: drawn as an arrow."""


def forest(findings: Sequence[Finding]) -> Figure:
    """A panel per metric and test (their units differ), rows in order of registration."""
    from matplotlib.gridspec import GridSpec

    panels: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        panels.setdefault((finding.metric, finding.test), []).append(finding)
    heights = [len(rows) * ROW_INCHES + 0.85 for rows in panels.values()]
    figure = new_figure(WIDTH, sum(heights) + 0.35)
    grid = GridSpec(len(panels), 1, figure=figure, height_ratios=heights)
    for place, ((metric, test), rows) in enumerate(panels.items()):
        _panel(figure.add_subplot(grid[place]), metric, test, rows)
    _legend(figure, findings)
    return figure


def _panel(axes: Axes, metric: str, test: str, rows: Sequence[Finding]) -> None:
    tidy(axes)
    axes.spines["left"].set_visible(False)
    left, right = _window(rows)
    axes.set_xlim(left, right)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
    for y, finding in enumerate(rows):
        _row(axes, y, finding, left, right)
    axes.set_yticks(range(len(rows)), [f"{f.ref}  {short_contrast(f, LONGEST_NAME)}" for f in rows])
    axes.tick_params(axis="y", length=0)
    words = {
        "bounded_mean": "mean difference in",
        "sign": "share up − share down,",
        "sharp": "centre of difference in",
    }
    axes.set_xlabel(f"{words[test]} {drawable(metric, 60)}")
    numbers = axes.secondary_yaxis("right")
    numbers.set_yticks(range(len(rows)), [_numbers(f) for f in rows])
    numbers.tick_params(length=0, labelsize=7.5, labelcolor=INK)
    numbers.spines["right"].set_visible(False)


def _row(axes: Axes, y: int, finding: Finding, left: float, right: float) -> None:
    look = LOOKS[finding.label]
    if finding.sesoi:
        axes.fill_between(
            [-finding.sesoi, finding.sesoi], y - 0.42, y + 0.42, color=BAND, linewidth=0, zorder=0.5
        )
    if finding.null:
        axes.plot([finding.null] * 2, [y - 0.42, y + 0.42], color=INK, linewidth=1.0, linestyle=(0, (2, 1.5)))
    if finding.label != "invalid":
        lo = left if finding.lo is None else finding.lo
        hi = right if finding.hi is None else finding.hi
        axes.plot([lo, hi], [y, y], color=look.colour, linewidth=1.8, solid_capstyle="butt", zorder=3)
        free = FREE_END.get(finding.direction) if finding.interval == "one_sided" else None
        for side, end, at, tip in (("lo", finding.lo, lo, "<"), ("hi", finding.hi, hi, ">")):
            marker = tip if end is None or side == free else "|"
            axes.plot(
                [at], [y], marker=marker, color=look.colour, markersize=6, markeredgewidth=1.4, zorder=3
            )
    if finding.estimate is not None:
        axes.plot(
            [finding.estimate], [y], marker=look.marker, markersize=6.5, color=look.colour, linestyle="",
            markerfacecolor=look.colour if look.filled else "white", markeredgewidth=1.3, zorder=4,
        )  # fmt: skip


def _window(rows: Sequence[Finding]) -> tuple[float, float]:
    """What the panel must show: every end, estimate, null and band, with a margin."""
    marks = [m for f in rows for m in (f.lo, f.hi, f.estimate, f.null, -f.sesoi, f.sesoi) if m is not None]
    finite = [m for m in marks if math.isfinite(m)] or [0.0]
    low, high = min(*finite, 0.0), max(*finite, 0.0)
    margin = MARGIN * (high - low) or 1.0
    return low - margin, high + margin


def _numbers(finding: Finding) -> str:
    estimate, ends = numbers_of(finding)
    said = "invalid" if finding.label == "invalid" else f"{estimate} {ends}"
    return f"{said}  n={finding.units}"


def _legend(figure: Figure, findings: Sequence[Finding]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    used = {finding.label for finding in findings}
    handles: list[Line2D | Patch] = [handle(label) for label in LOOKS if label in used]
    if any(f.sesoi for f in findings):
        handles.append(Patch(color=BAND, label="within the smallest effect of interest"))
    if any(f.null for f in findings):
        handles.append(
            Line2D([], [], color=INK, linestyle=(0, (2, 1.5)), linewidth=1.0, label="null, where not 0")
        )
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, handlelength=2.2)
