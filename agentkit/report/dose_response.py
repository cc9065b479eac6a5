"""Dose-response curves of explored strengths: the mean of each level over units, with a descriptive interval."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from agentkit.report.canvas import (
    FAINT,
    GRID,
    SERIES,
    SERIES_MARKERS,
    WIDTH,
    drawable,
    new_figure,
    tidy,
)
from agentkit.report.numbers import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agentkit.report.exploration import Curve

DECADES = 20.0
"""Largest over smallest strength from which the axis is logarithmic (linear below the smallest level, to show 0)."""
OVERLAID = 5
COLUMNS = 2
EDGE = 0.05
CHARACTER_INCHES = 0.075
AXES_SHARE = 0.8
"""Of a panel's width, what its labels leave for the axes."""


def dose_response(metrics: Sequence[tuple[str, Sequence[Curve]]]) -> Figure:
    """One panel per metric, main metric first and larger; curves of comparable strengths share a panel.

    Args:
        metrics: per metric its curves, one per kind of perturbation.
    """
    panels = [(metric, group) for metric, curves in metrics for group in _groups(curves)]
    columns = 1 if len(panels) == 1 else COLUMNS
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(WIDTH, 3.4 if columns == 1 else 2.75 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes, (metric, curves) in zip(grid, panels, strict=False):
        _panel(axes, metric, curves, AXES_SHARE * WIDTH / columns)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    return figure


def _groups(curves: Sequence[Curve]) -> list[list[Curve]]:
    """Curves that can share an axis: few, and strengths of about the same size; else a panel each."""
    largest = [max(abs(level.strength) for level in curve.levels) for curve in curves]
    if len(curves) <= OVERLAID and max(largest) <= 10 * min(largest):
        return [list(curves)]
    return [[curve] for curve in curves]


def _panel(axes: Axes, metric: str, curves: Sequence[Curve], inches: float) -> None:
    tidy(axes)
    axes.grid(color=GRID, linewidth=0.6)
    for i, curve in enumerate(curves):
        _curve(axes, curve, SERIES[i % len(SERIES)], SERIES_MARKERS[i % len(SERIES_MARKERS)])
    base = curves[0].levels[0]
    axes.axhline(base.mean, color=FAINT, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    strengths = sorted({level.strength for curve in curves for level in curve.levels})
    _x_axis(axes, strengths, inches)
    axes.set_ylabel(f"mean {drawable(metric, 40)}")
    if len(curves) == 1:
        axes.set_xlabel(f"{drawable(curves[0].kind, 40)} (0 = untouched)")
    else:
        axes.set_xlabel("strength (0 = untouched)")
        axes.legend(frameon=False, handlelength=1.6)


def _curve(axes: Axes, curve: Curve, colour: str, marker: str) -> None:
    def column(name: str) -> list[Any]:
        return [getattr(level, name) for level in curve.levels]

    x, mean = column("strength"), column("mean")
    axes.fill_between(x, column("lo"), column("hi"), color=colour, alpha=0.18, linewidth=0)
    errors = [
        [m - lo for m, lo in zip(mean, column("lo"), strict=True)],
        [hi - m for m, hi in zip(mean, column("hi"), strict=True)],
    ]
    axes.errorbar(
        x, mean, yerr=errors, color=colour, marker=marker, markersize=4.5, linewidth=1.5, elinewidth=1.0, capsize=2.5,
        label=drawable(curve.kind, 28),
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
