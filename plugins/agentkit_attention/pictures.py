"""Pictures and tables of a sweep: effects of heads by layer, and how stable their ranking is over units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agentkit import Context, Measurements
    from agentkit_attention.edits import Condition


MOST_LINES = 12
"""Lines that still get a legend."""


def publish(ctx: Context, conditions: Sequence[Condition], values: NDArray[np.float64], metric: str) -> None:
    """Store `heads.csv` and, for a sweep over several heads, the heat map `heads.svg`.

    Args:
        ctx: takes the artifacts.
        conditions: what was measured.
        values: the metric [units, 1 + conditions], baseline first.
        metric: its name.
    """
    effect = values[:, 1:] - values[:, :1]
    rows = [
        {
            "condition": c.name,
            "heads": " ".join(h.canonical for h in c.heads),
            f"mean change of {metric} (exploratory)": float(effect[:, i].mean()),
            "standard error": standard_error(effect[:, i]),
        }
        for i, c in enumerate(conditions)
    ]
    if not rows:
        return
    ctx.artifact("heads.csv", rows)
    if len({c.strength for c in conditions}) > 1:
        curves: dict[str, dict[float, NDArray[np.float64]]] = {}
        for i, c in enumerate(conditions):
            curves.setdefault(c.name.partition(":")[0], {})[c.strength] = effect[:, i]
        ctx.artifact(
            "strengths.svg",
            lines(curves, x=f"strength of {conditions[0].technique}", y=f"change of {metric}"),
        )
    single = all(len(c.heads) == 1 and c.heads[0].site.short for c in conditions)
    if single and len(conditions) > 1 and len({c.heads[0] for c in conditions}) == len(conditions):
        ctx.artifact("heads.svg", heat_map(conditions, effect, metric))


def lines(groups: dict[str, dict[float, NDArray[np.float64]]], *, x: str, y: str) -> Any:
    """A figure: one line per group over its places, mean over units with bars of two standard errors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.4))
    axis = figure.subplots()
    for name, points in groups.items():
        places = sorted(points)
        mean = [float(points[p].mean()) for p in places]
        error = [2 * standard_error(points[p]) for p in places]
        axis.errorbar(
            places, mean, yerr=error, fmt="o-", markersize=4, linewidth=1, elinewidth=0.7, label=name
        )
    units = max((len(v) for points in groups.values() for v in points.values()), default=0)
    axis.set(xlabel=x, ylabel=y)
    axis.set_title(f"{units} units, bars: two standard errors (exploratory)", fontsize=8)
    if len(groups) <= MOST_LINES:
        axis.legend(fontsize=7)
    figure.tight_layout()
    return figure


def trade_off(table: Measurements) -> Any:
    """A figure: judge against Frechet distance, a line per set over its strengths; None without both metrics.

    Bars are two standard errors over units of the difference to no guidance, which is shown at its mean.
    """
    if not {"judge", "fd"} <= set(table.metrics):
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.8))
    axis = figure.subplots()
    sets: dict[str, list[str]] = {}
    for condition in table.conditions[1:]:
        if np.isfinite(table.column("fd", condition)).all():
            sets.setdefault(condition.split("=")[0], []).append(condition)
    origin = {m: table.column(m, "baseline") for m in ("fd", "judge")}
    for name, conditions in sets.items():
        mean: dict[str, list[float]] = {m: [float(origin[m].mean())] for m in origin}
        error: dict[str, list[float]] = {m: [0.0] for m in origin}
        for condition in conditions:
            for metric, base in origin.items():
                values = table.column(metric, condition)
                mean[metric].append(float(values.mean()))
                error[metric].append(2 * standard_error(values - base))
        axis.errorbar(
            mean["fd"], mean["judge"], xerr=error["fd"], yerr=error["judge"], fmt="o-", markersize=4, linewidth=1,
            elinewidth=0.6, label=name.replace("_k", " heads"),
        )  # fmt: skip
        for condition, x, y in zip(conditions, mean["fd"][1:], mean["judge"][1:], strict=True):
            axis.annotate(
                condition.partition("=")[2], (x, y), textcoords="offset points", xytext=(4, 4), fontsize=7
            )
    axis.plot(origin["fd"].mean(), origin["judge"].mean(), "ks", markersize=6, label="no guidance")
    axis.set(xlabel="Frechet distance to real digits (lower is better)", ylabel="judge's confidence")
    axis.set_title(f"{len(table.units)} units, bars: two standard errors (exploratory)", fontsize=8)
    axis.legend(fontsize=8)
    figure.tight_layout()
    return figure


def standard_error(effect: NDArray[np.float64]) -> float:
    """Of a mean over units; 0 for a single unit, whose spread is unknown."""
    return float(effect.std(ddof=1) / len(effect) ** 0.5) if len(effect) > 1 else 0.0


def rank_stability(effect: NDArray[np.float64]) -> float:
    """Mean rank correlation of each unit's effects [units, conditions] with the mean of the others; nan below 2."""
    if len(effect) < 2 or effect.shape[1] < 3:
        return float("nan")
    ranks = effect.argsort(1).argsort(1).astype(float)
    others = [np.delete(effect, u, axis=0).mean(0).argsort().argsort() for u in range(len(effect))]
    return float(np.mean([np.corrcoef(r, o)[0, 1] for r, o in zip(ranks, others, strict=True)]))


def heat_map(conditions: Sequence[Condition], effect: NDArray[np.float64], metric: str) -> Any:
    """A figure: mean change by layer and head, a dot where two standard errors exclude zero."""
    from matplotlib.figure import Figure

    heads = [c.heads[0] for c in conditions]
    layers, width = max(h.site.layer for h in heads) + 1, max(h.head for h in heads) + 1
    grid = np.full((layers, width), np.nan)
    for i, head in enumerate(heads):
        grid[head.site.layer, head.head] = effect[:, i].mean()
    figure = Figure(figsize=(1.8 + 0.42 * width, 1.3 + 0.36 * layers))
    axis = figure.subplots()
    top = float(np.nanmax(abs(grid))) or 1.0
    image = axis.imshow(grid, cmap="RdBu", vmin=-top, vmax=top, aspect="auto")
    for i, head in enumerate(heads):
        if abs(effect[:, i].mean()) > 2 * standard_error(effect[:, i]) > 0:
            axis.plot(head.head, head.site.layer, "k.", markersize=3)
    axis.set(ylabel="layer", xticks=range(width), yticks=range(layers))
    axis.set_xlabel("head (dot: beyond two standard errors)")
    stable = rank_stability(effect)
    note = "" if np.isnan(stable) else f", rank stability {stable:.2f}"
    axis.set_title(f"{len(effect)} units (exploratory{note})", fontsize=8)
    figure.colorbar(image, ax=axis, label=f"change of {metric}")
    figure.tight_layout()
    return figure
