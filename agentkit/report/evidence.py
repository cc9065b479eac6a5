"""How evidence grew: log e against units for each hypothesis, with the threshold of its level."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agentkit.report.canvas import FAINT, GRID, INK, LOOKS, WIDTH, new_figure, tidy
from agentkit.report.claims import short_contrast
from agentkit.report.numbers import fixed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agentkit.report.facts import Finding

COLUMNS = 3
PANEL_INCHES = 1.7


def evidence_paths(findings: Sequence[Finding]) -> Figure:
    """Small multiples in order of registration; all share one vertical scale, so that they can be compared."""
    columns = min(COLUMNS, len(findings))
    rows = math.ceil(len(findings) / columns)
    figure = new_figure(WIDTH, rows * PANEL_INCHES + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel().tolist()
    for axes, finding in zip(panels, findings, strict=False):
        _panel(axes, finding)
    for axes in panels[len(findings) :]:
        axes.set_visible(False)
    low, high = _scale(findings)
    panels[0].set_ylim(low, high)
    figure.supxlabel("units", fontsize=8.5)
    figure.supylabel("log e (natural)", fontsize=8.5)
    return figure


def _panel(axes: Axes, finding: Finding) -> None:
    from matplotlib.ticker import MaxNLocator, NullLocator

    tidy(axes)
    look = LOOKS[finding.label]
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    threshold = math.log(1 / finding.level)
    axes.axhline(threshold, color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
    axes.axhline(0, color=FAINT, linewidth=0.6)
    units, log_e = finding.path
    axes.plot(units, log_e, color=look.colour, linewidth=1.8)
    axes.plot(
        units[-1:], log_e[-1:], color=look.colour, marker=look.marker, markersize=5,
        markerfacecolor=look.colour if look.filled else "white",
    )  # fmt: skip
    axes.set_xlim(0, max([*units, 1]) * 1.04)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True) if units else NullLocator())
    name = f"{finding.ref}  {short_contrast(finding, 22)}"
    said = finding.label if finding.log_e is None else f"{finding.label}, {fixed(finding.log_e, 1)}"
    axes.set_title(
        f"{name}\n", loc="left", fontsize=8, color=INK
    )  # its second line is the label's, in its colour
    axes.text(0, 1.03, said, transform=axes.transAxes, va="bottom", fontsize=7.5, color=look.colour)


def _scale(findings: Sequence[Finding]) -> tuple[float, float]:
    """From the lowest point to well above the thresholds; runaway evidence leaves the panel at its top."""
    highest = max(math.log(1 / f.level) for f in findings)
    reached = max((max(f.path[1], default=0.0) for f in findings), default=0.0)
    lowest = min((min(f.path[1], default=0.0) for f in findings), default=0.0)
    top = min(max(reached, highest) * 1.15, highest * 3)
    return max(lowest * 1.1, -highest) - 0.5, top
