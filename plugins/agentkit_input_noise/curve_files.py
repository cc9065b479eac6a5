"""The files that a sweep leaves beside its measurements: curves, figure, measured strength, claims, examples."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from agentkit import BASELINE
from agentkit_input_noise import contrasts
from agentkit_input_noise.contrasts import ready_made
from agentkit_input_noise.dose_response import Curve, describe
from agentkit_input_noise.sweep import CHANCE, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from agentkit import Context, Measurements, Metric, Unit

LEAST_UNITS = 2
"""A curve with intervals needs at least two units."""

LEAST_FOR_HEAT = 3
"""Kinds from which technique by strength is drawn as a map too."""

EXAMPLES = 5


class Sweep(NamedTuple):
    """What a curve is drawn from.

    Attributes:
        kinds: kinds of noise.
        strengths: positive strengths that every kind was measured at.
        metrics: metrics to draw, the main one first.
        controls: for a kind, the kind that stands beside it as its matched-size control.
        only_mapped: kinds that do not start at baseline: on the map, without a curve.
    """

    kinds: Sequence[str]
    strengths: Sequence[float]
    metrics: Sequence[Metric]
    controls: dict[str, str] = {}  # noqa: RUF012 - never written
    only_mapped: Sequence[str] = ()


def write(ctx: Context, table: Measurements, sweep: Sweep, units: Sequence[Unit]) -> None:
    """Store `curve.json`, `curve.svg`, `heat.svg`, `strength.json` and `contrasts.json` of a whole exploration.

    Nothing is written for a call that was asked for some conditions only (a confirmation, a part of a split
    run), that has fewer than two units, or that has no kind with several strengths.
    """
    if ctx.conditions is not None or len(units) < LEAST_UNITS or not sweep.kinds:
        return
    curves = {m.name: _curves(table, sweep, m, units) for m in sweep.metrics}
    ctx.artifact("curve.json", {m: {k: c.to_json() for k, c in of.items()} for m, of in curves.items()})
    ctx.artifact("curve.svg", draw(curves, sweep))
    ctx.artifact("contrasts.json", [row for m in sweep.metrics for row in _claims(table, sweep, m)])
    mapped = [*sweep.kinds, *sweep.only_mapped]
    if len(mapped) >= LEAST_FOR_HEAT:
        ctx.artifact("heat.svg", draw_heat(table, sweep.metrics[0].name, mapped, sweep.strengths))
    if "edit_rate" in table.metrics:
        ctx.artifact("strength.json", _measured_strength(table, sweep))


def write_examples(ctx: Context, examples: dict[str, list[dict[str, Any]]]) -> None:
    """Store up to five before / after / prediction triples a condition as `examples.json`."""
    if ctx.conditions is None:
        ctx.artifact("examples.json", {name: rows[:EXAMPLES] for name, rows in examples.items()})


def _curves(table: Measurements, sweep: Sweep, metric: Metric, units: Sequence[Unit]) -> dict[str, Curve]:
    """One falling curve a kind; a metric where lower is better is turned for the fit and turned back."""
    sign = -1.0 if metric.higher_is_better is False else 1.0
    strengths = np.array([0.0, *sorted(sweep.strengths)])
    floor: NDArray[np.float64] | float = sign * ((metric.low if sign > 0 else metric.high) or 0.0)
    if CHANCE in table.conditions and not np.isnan(table.column(metric.name, CHANCE)).any():
        floor = sign * table.column(metric.name, CHANCE)
    found = {}
    for kind in sweep.kinds:
        names = [BASELINE, *(name_of(kind, s) for s in strengths[1:])]
        levels = sign * np.stack([table.column(metric.name, name) for name in names], axis=1)
        fit = describe(strengths, levels, floor, rng=units[0].rng("curve.bootstrap"))
        found[kind] = fit if sign > 0 else fit.turned()
    return found


def _claims(table: Measurements, sweep: Sweep, metric: Metric) -> list[dict[str, Any]]:
    if not metric.bounded:
        return []
    assert metric.low is not None  # noqa: S101 - bounded says so
    assert metric.high is not None  # noqa: S101
    means = {c: float(table.column(metric.name, c).mean()) for c in table.conditions}
    levels = {c: level for c, level in means.items() if not np.isnan(level)}
    return ready_made(
        sweep.kinds, sweep.strengths, metric.name, metric.low, metric.high, levels,
        falls=metric.higher_is_better is not False, controls=sweep.controls,
    )  # fmt: skip


def _measured_strength(table: Measurements, sweep: Sweep) -> list[dict[str, Any]]:
    return [
        {
            "condition": name_of(kind, strength),
            "requested": strength,
            "measured": float(table.column("edit_rate", name_of(kind, strength)).mean()),
            "measured_per_unit": table.column("edit_rate", name_of(kind, strength)).tolist(),
        }
        for kind in sweep.kinds
        for strength in sorted(sweep.strengths)
    ]


def claim(
    name: str, contrast: dict[str, float], direction: str, metric: Metric, levels: dict[str, float]
) -> dict[str, Any]:
    """One row of `contrasts.json` for a bounded metric."""
    assert metric.low is not None  # noqa: S101 - callers pass bounded metrics
    assert metric.high is not None  # noqa: S101
    return contrasts.row(name, contrast, direction, metric.name, metric.low, metric.high, levels)


def t_half_width(column: NDArray[np.float64]) -> float:
    """Half of the 95 % t interval of a mean over units, shape (units,)."""
    from scipy.stats import t

    return float(t.ppf(0.975, len(column) - 1) * column.std(ddof=1) / np.sqrt(len(column)))


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette: told apart by people who do not see all colours."""


def draw(curves: dict[str, dict[str, Curve]], sweep: Sweep) -> str:
    """One panel a metric as SVG text; equal curves give equal bytes."""
    with svg_figure(len(curves)) as (panels, text):
        for axes, (metric, of) in zip(panels, curves.items(), strict=True):
            for colour, (kind, curve) in zip(COLOURS * 3, of.items(), strict=False):
                _draw_curve(axes, curve, kind, colour)
            floor = next(iter(of.values())).floor
            axes.axhline(floor, color="0.6", lw=0.8, ls=":", label="chance or floor")
            axes.set(xlabel="strength", ylabel=metric)
    return text.getvalue()


def draw_heat(table: Measurements, metric: str, kinds: Sequence[str], strengths: Sequence[float]) -> str:
    """Mean level of every kind (rows) at every strength (columns), numbers written in, as SVG text."""
    grid = np.array([[table.column(metric, name_of(k, s)).mean() for s in sorted(strengths)] for k in kinds])
    with svg_figure(1) as (panels, text):
        axes = panels[0]
        axes.imshow(grid, aspect="auto", cmap="viridis", vmin=0, vmax=1)
        axes.set_xticks(range(len(strengths)), [f"{s:g}" for s in sorted(strengths)])
        axes.set_yticks(range(len(kinds)), kinds, fontsize=7)
        axes.set(xlabel="strength", title=f"mean {metric}")
        for (row, column), level in np.ndenumerate(grid):
            axes.text(column, row, f"{level:.2f}", ha="center", va="center", fontsize=7,
                      color="black" if level > 0.5 else "white")  # fmt: skip
    return text.getvalue()


def draw_band(
    xs: ArrayLike, ys: ArrayLike, low: ArrayLike, high: ArrayLike, *, x: str, y: str, label: str
) -> str:
    """One line with a band as SVG text."""
    with svg_figure(1) as (panels, text):
        axes = panels[0]
        axes.fill_between(xs, low, high, color=COLOURS[0], alpha=0.2, lw=0)
        axes.plot(xs, ys, "o-", ms=3.5, lw=1.2, color=COLOURS[0], label=label)
        axes.set(xlabel=x, ylabel=y, ylim=(0, 1.02))
    return text.getvalue()


def draw_detection(rows: Sequence[dict[str, Any]], strengths: Sequence[float], kinds: Sequence[str]) -> str:
    """AUROC by size, attack and controls side by side, as SVG text."""
    at = {row["condition"]: row for row in rows}
    with svg_figure(1) as (panels, text):
        axes = panels[0]
        for colour, kind in zip(COLOURS, kinds, strict=False):
            found = [at[name_of(kind, s)] for s in sorted(strengths)]
            axes.errorbar(
                sorted(strengths), [r["auroc"] for r in found], yerr=[r["half_width_95"] for r in found], fmt="o-",
                ms=3.5, lw=1.2, color=colour, label=f"{kind} (mean, 95 % over units)",
            )  # fmt: skip
        axes.axhline(0.5, color="0.6", lw=0.8, ls=":", label="no detection")
        axes.set(xlabel="L-inf size", ylabel="AUROC", ylim=(0.3, 1.02))
    return text.getvalue()


@contextmanager
def svg_figure(columns: int) -> Iterator[tuple[Any, io.StringIO]]:
    """Panels side by side, and the text that holds their SVG afterwards; no date, no random ids."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "agentkit", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(4.6 * columns + 0.6, 4.2), layout="constrained")
        panels = figure.subplots(1, columns, squeeze=False)[0]
        yield panels, text
        for axes in panels:
            axes.spines[["top", "right"]].set_visible(False)
        named = {
            label: handle
            for axes in panels
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        if named:
            figure.legend(
                named.values(), named.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize=7
            )
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})


def _draw_curve(axes: Any, curve: Curve, kind: str, colour: str) -> None:
    low, high = curve.interval
    axes.errorbar(
        curve.strengths, curve.mean, yerr=np.abs(np.stack([curve.mean - low, high - curve.mean])), fmt="o",
        ms=3.5, lw=1, color=colour, label=f"{kind} (mean, 95 % bootstrap)",
    )  # fmt: skip
    axes.plot(curve.strengths, curve.isotonic, lw=0.8, ls="--", color=colour)
    if curve.logistic is not None:
        fine = np.linspace(0, curve.strengths[-1], 200)
        axes.plot(fine, curve.logistic.at(fine), lw=1.2, color=colour)
    if curve.ed50 is not None and curve.ed50.strength is not None:
        axes.axvline(
            curve.ed50.strength, lw=0.8, ls="-.", color=colour, label=f"ED50 of {kind}: {curve.ed50}"
        )
