"""The files that a sweep leaves beside its measurements: curves, figure, measured strength, claims, examples."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from agentkit import BASELINE
from agentkit_input_noise import contrasts
from agentkit_input_noise.contrasts import ready_made
from agentkit_input_noise.dose_response import Curve, describe
from agentkit_input_noise.sweep import CHANCE, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from agentkit import Context, Measurements, Metric, Unit

LEAST_UNITS = 2
"""A curve with intervals needs at least two units."""

LEAST_FOR_HEAT = 3
"""Kinds from which technique by strength is drawn as a map too."""

EXAMPLES = 5


class Files(Protocol):
    """What takes the files: a worker's context, or a folder."""

    @property
    def conditions(self) -> frozenset[str] | None:
        """The conditions that were asked for; None for all."""

    def artifact(self, name: str, value: Any) -> str:
        """Store a table (`.json`) or a figure (`.svg`)."""


class Sweep(NamedTuple):
    """What a curve is drawn from.

    Attributes:
        kinds: kinds of noise.
        strengths: positive strengths that every kind was measured at.
        metrics: metrics to draw, the main one first.
        controls: for a kind, the kind that stands beside it as its matched-size control.
        only_mapped: kinds that do not start at baseline: on the map, without a curve.
        axis: what strengths are called on the figure.
        name: the condition of a kind at a strength.
    """

    kinds: Sequence[str]
    strengths: Sequence[float]
    metrics: Sequence[Metric]
    controls: dict[str, str] = {}  # noqa: RUF012 - never written
    only_mapped: Sequence[str] = ()
    axis: str = "strength"
    name: Callable[[str, float], str] = name_of


def write(ctx: Files, table: Measurements, units: Sequence[Unit], *sweeps: Sweep) -> None:
    """Store `curve.json`, `curve.svg`, `heat.svg`, `strength.json` and `contrasts.json` of a whole exploration.

    Kinds whose strengths mean different things come as several sweeps of the same metrics. Nothing is written
    for a call that was asked for some conditions only (a confirmation, a part of a split run), that has fewer
    than two units, or that has no kind with several strengths.
    """
    sweeps = tuple(s for s in sweeps if s.kinds)
    if ctx.conditions is not None or len(units) < LEAST_UNITS or not sweeps:
        return
    metrics = sweeps[0].metrics
    curves = [{m.name: _curves(table, sweep, m, units) for m in metrics} for sweep in sweeps]
    ctx.artifact("curve.json", {
        m.name: {kind: c.to_json() for of in curves for kind, c in of[m.name].items()} for m in metrics
    })  # fmt: skip
    ctx.artifact("curve.svg", draw(curves, sweeps))
    ctx.artifact("contrasts.json", [row for s in sweeps for m in metrics for row in _claims(table, s, m)])
    sweep = sweeps[0]
    mapped = [*sweep.kinds, *sweep.only_mapped]
    if len(mapped) >= LEAST_FOR_HEAT:
        ctx.artifact("heat.svg", draw_heat(table, sweep, mapped))
    if "edit_rate" in table.metrics:
        ctx.artifact("strength.json", _measured_strength(table, sweep))


def write_examples(ctx: Context, examples: dict[str, list[dict[str, Any]]]) -> None:
    """Store up to five before / after / prediction triples a condition as `examples.json`.

    Kernels collect them from unit 0 alone, so that of a run spread over many jobs one job shows them.
    """
    if ctx.conditions is None and examples:
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
        names = [BASELINE, *(sweep.name(kind, s) for s in strengths[1:].tolist())]
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
        falls=metric.higher_is_better is not False, controls=sweep.controls, name=sweep.name,
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


def draw(curves: Sequence[dict[str, dict[str, Curve]]], sweeps: Sequence[Sweep]) -> str:
    """One panel a metric (columns) and sweep (rows) as SVG text; equal curves give equal bytes.

    A kind that is another's matched-size control is drawn as a band, so that an effect stands out of it or not.
    """
    colours = dict(zip((kind for s in sweeps for kind in s.kinds), COLOURS * 3, strict=False))
    with svg_figure(len(curves[0]), len(sweeps)) as (panels, text):
        for row, sweep in enumerate(sweeps):
            for column, (metric, of) in enumerate(curves[row].items()):
                axes = panels[row * len(curves[row]) + column]
                for kind, curve in of.items():
                    is_control = kind in sweep.controls.values()
                    _draw_curve(axes, curve, kind, metric, colours[kind], is_control=is_control)
                floor = next(iter(of.values())).floor
                axes.axhline(floor, color="0.6", lw=0.8, ls=":", label="chance or floor")
                axes.set(xlabel=sweep.axis, ylabel=metric)
    return text.getvalue()


def draw_heat(table: Measurements, sweep: Sweep, kinds: Sequence[str]) -> str:
    """Mean level of every kind (rows) at every strength (columns), numbers written in, as SVG text."""
    metric, strengths = sweep.metrics[0], sorted(sweep.strengths)
    grid = np.array([[table.column(metric.name, sweep.name(k, s)).mean() for s in strengths] for k in kinds])
    low = grid.min() if metric.low is None else metric.low
    high = grid.max() if metric.high is None else metric.high
    with svg_figure(1) as (panels, text):
        axes = panels[0]
        axes.imshow(grid, aspect="auto", cmap="viridis", vmin=low, vmax=high)
        axes.set_xticks(range(len(strengths)), [f"{s:.3g}" for s in strengths])
        axes.set_yticks(range(len(kinds)), kinds, fontsize=7)
        axes.set(xlabel=sweep.axis, title=f"mean {metric.name}")
        for (row, column), level in np.ndenumerate(grid):
            axes.text(column, row, f"{level:.3g}", ha="center", va="center", fontsize=7,
                      color="black" if level > (low + high) / 2 else "white")  # fmt: skip
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


def draw_sizes(
    table: Measurements, metrics: Sequence[Metric], kinds: Sequence[str], sizes: Sequence[float], axis: str
) -> str:
    """One panel a metric: its level from baseline over all sizes, the kinds side by side, as SVG text."""
    names = {kind: [BASELINE, *(name_of(kind, s) for s in sorted(sizes))] for kind in kinds}
    with svg_figure(len(metrics)) as (panels, text):
        for axes, metric in zip(panels, metrics, strict=True):
            for colour, kind in zip(COLOURS, kinds, strict=False):
                columns = [table.column(metric.name, name) for name in names[kind]]
                means, half = (np.array([f(c) for c in columns]) for f in (np.mean, t_half_width))
                low, high = ((means + sign * half).clip(metric.low, metric.high) for sign in (-1, 1))
                axes.errorbar(
                    [0, *sorted(sizes)], means, yerr=[means - low, high - means], fmt="o-", ms=3.5, lw=1.2,
                    color=colour, label=f"{kind} (mean, 95 % over units)",
                )  # fmt: skip
            axes.locator_params(axis="x", nbins=5)
            axes.set(xlabel=axis, ylabel=metric.name)
    return text.getvalue()


@contextmanager
def svg_figure(
    columns: int, rows: int = 1, *, panel: tuple[float, float] = (4.6, 3.4)
) -> Iterator[tuple[Any, io.StringIO]]:
    """Panels of some inches row by row, and the text that holds their SVG afterwards; no date, no random ids."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "agentkit", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(panel[0] * columns + 0.6, panel[1] * rows + 0.8), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in panels:
            axes.spines[["top", "right"]].set_visible(False)
        yield panels, text
        named = {
            label: handle
            for axes in panels
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        if named:
            figure.legend(
                named.values(),
                named.keys(),
                loc="outside lower center",
                ncols=min(2, columns),
                frameon=False,
                fontsize=7,
            )
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})


def _draw_curve(
    axes: Any, curve: Curve, kind: str, metric: str, colour: str, *, is_control: bool = False
) -> None:
    low, high = curve.interval
    if is_control:
        axes.fill_between(curve.strengths, low, high, color=colour, alpha=0.25, lw=0)
    axes.errorbar(
        curve.strengths, curve.mean, yerr=np.abs(np.stack([curve.mean - low, high - curve.mean])), fmt="o",
        ms=3.5, lw=1, color=colour, label=f"{kind} ({'matched-size control, ' if is_control else ''}mean, 95 % bootstrap)",
    )  # fmt: skip
    axes.plot(curve.strengths, curve.isotonic, lw=0.8, ls="--", color=colour)
    if curve.logistic is not None:
        fine = np.linspace(0, curve.strengths[-1], 200)
        axes.plot(fine, curve.logistic.at(fine), lw=1.2, color=colour)
    if curve.ed50 is not None and curve.ed50.strength is not None:
        bounds = "" if curve.ed50_interval is None else " [{}, {}]".format(*curve.ed50_interval)
        axes.axvline(
            curve.ed50.strength, lw=0.8, ls="-.", color=colour,
            label=f"ED50 of {kind} by {metric}: {curve.ed50}{bounds}",
        )  # fmt: skip
