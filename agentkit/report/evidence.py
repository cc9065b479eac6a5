"""How evidence grew: log e against units for each hypothesis, with the threshold of its level."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agentkit.report.canvas import FAINT, GRID, INK, LOOKS, WIDTH, drawable, new_figure, tidy
from agentkit.report.claims import compared
from agentkit.report.document import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agentkit.report.facts import Finding

COLUMNS = 3
PANEL_INCHES = 1.55


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
    axes.set_title(
        f"{finding.ref} {drawable(plain(compared(finding)), 22)}", loc="left", fontsize=8, color=INK
    )
    axes.text(0.03, 0.97, finding.label, transform=axes.transAxes, va="top", fontsize=7.5, color=look.colour)


def _scale(findings: Sequence[Finding]) -> tuple[float, float]:
    """From the lowest point to well above the thresholds; runaway evidence leaves the panel at its top."""
    highest = max(math.log(1 / f.level) for f in findings)
    reached = max((max(f.path[1], default=0.0) for f in findings), default=0.0)
    lowest = min((min(f.path[1], default=0.0) for f in findings), default=0.0)
    top = min(max(reached, highest) * 1.15, highest * 3)
    return max(lowest * 1.1, -highest) - 0.5, top
