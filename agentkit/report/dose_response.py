"""Dose-response curves of explored strengths: the mean of each level over units, with a descriptive interval."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from agentkit.report.canvas import FAINT, GRID, SERIES, SERIES_MARKERS, WIDTH, drawable, new_figure, tidy
from agentkit.report.numbers import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agentkit.report.exploration import Curve, Level

DECADES = 20.0
"""Largest over smallest strength from which the axis is logarithmic (linear below the smallest level, to show 0)."""
OVERLAID = 5
COLUMNS = 2
EDGE = 0.05
CHARACTER_INCHES = 0.064
AXES_SHARE = 0.8
"""Of a panel's width, what its labels leave for the axes."""


class Panel(NamedTuple):
    """One metric: its curves, one per kind, and other conditions shown as dotted levels (a chance level)."""

    metric: str
    curves: Sequence[Curve]
    references: Sequence[Level] = ()


def dose_response(metrics: Sequence[Panel]) -> Figure:
    """One panel per metric, in the order given; kinds whose strengths differ widely get a panel each."""
    panels = [panel._replace(curves=group) for panel in metrics for group in _groups(panel.curves)]
    columns = 1 if len(panels) == 1 else COLUMNS
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(WIDTH, 3.4 if columns == 1 else 2.75 * rows)
    one_metric = len({panel.metric for panel in panels}) == 1
    grid = figure.subplots(rows, columns, squeeze=False, sharey=one_metric).ravel().tolist()
    for axes, panel in zip(grid, panels, strict=False):
        _panel(axes, panel, AXES_SHARE * WIDTH / columns)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    return figure


def _groups(curves: Sequence[Curve]) -> list[list[Curve]]:
    """Curves that can share an axis: few, and strengths of about the same size; else a panel each."""
    largest = [max(abs(level.strength) for level in curve.levels) for curve in curves]
    if len(curves) <= OVERLAID and max(largest) <= 10 * min(largest):
        return [list(curves)]
    return [[curve] for curve in curves]


def _panel(axes: Axes, panel: Panel, inches: float) -> None:
    tidy(axes)
    axes.grid(color=GRID, linewidth=0.6)
    for i, curve in enumerate(panel.curves):
        _curve(axes, curve, SERIES[i % len(SERIES)], SERIES_MARKERS[i % len(SERIES_MARKERS)])
    axes.axhline(panel.curves[0].baseline.mean, color=FAINT, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    for level in panel.references:
        _reference(axes, level)
    _x_axis(axes, sorted({level.strength for curve in panel.curves for level in curve.levels}), inches)
    axes.set_ylabel(f"mean {drawable(panel.metric, 36)}")
    if len(panel.curves) == 1:
        axes.set_xlabel(f"{drawable(panel.curves[0].kind, 36)} (0 = untouched)")
    else:
        axes.set_xlabel("strength (0 = untouched)")
        axes.legend(frameon=False, handlelength=1.6)


def _curve(axes: Axes, curve: Curve, colour: str, marker: str) -> None:
    x, mean = [level.strength for level in curve.levels], [level.mean for level in curve.levels]
    lo, hi = [level.lo for level in curve.levels], [level.hi for level in curve.levels]
    below = [m - end for m, end in zip(mean, lo, strict=True)]
    above = [end - m for m, end in zip(mean, hi, strict=True)]
    axes.fill_between(x, lo, hi, color=colour, alpha=0.18, linewidth=0)
    axes.errorbar(
        x, mean, yerr=[below, above], color=colour, marker=marker, markersize=4.5, linewidth=1.5, elinewidth=1.0,
        capsize=2.5, label=drawable(curve.kind, 28),
    )  # fmt: skip


def _reference(axes: Axes, level: Level) -> None:
    if not level.units:
        return
    axes.axhline(level.mean, color=FAINT, linewidth=1.1, linestyle=(0, (1, 2)), zorder=1)
    axes.annotate(
        drawable(level.condition, 20), (0.01, level.mean), xycoords=("axes fraction", "data"), xytext=(0, 2),
        textcoords="offset points", fontsize=7, color=FAINT, va="bottom",
    )  # fmt: skip


def _x_axis(axes: Axes, strengths: Sequence[float], inches: float) -> None:
    """Ticks at the explored levels themselves; logarithmic where they span decades."""
    sizes = [abs(s) for s in strengths if s]
    if min(strengths) >= 0 and max(sizes) / min(sizes) >= DECADES:
        axes.set_xscale("symlog", linthresh=min(sizes), linscale=0.6)
    to_place = axes.xaxis.get_transform()
    places = [float(p) for p in to_place.transform(list(strengths))]
    low, high = min(places), max(places)
    margin = EDGE * (high - low)
    left, right = to_place.inverted().transform([low - margin, high + margin])
    axes.set_xlim(float(left), float(right))
    ticks = _apart(strengths, [(p - low) / (high - low) * inches for p in places])
    axes.set_xticks(ticks, [number(s) for s in ticks])
    axes.set_xticks([], minor=True)


def _apart(strengths: Sequence[float], inches: Sequence[float]) -> list[float]:
    """The levels that can be labelled without overlap: 0 first, then from the strongest down."""
    kept: list[tuple[float, float, float]] = []
    for strength, place in sorted(zip(strengths, inches, strict=True), key=lambda p: (p[0] != 0, -p[1])):
        half = CHARACTER_INCHES * (len(number(strength)) + 1.5) / 2
        if all(abs(place - other) >= half + its for _, other, its in kept):
            kept.append((strength, place, half))
    return sorted(strength for strength, _, _ in kept)
