"""Pictures of a replayed screen: the cumulative curve by round, and the last round as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Curves = Mapping[str, NDArray[np.float64]]
    """Condition -> (units, rounds) cumulative hit ratio."""

from agentkit import BASELINE

INK, GREY = "#222222", "#8a8a8a"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, which colour-blind readers can tell apart."""


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _shown(name: str) -> str:
    return "random" if name == BASELINE else name


def _colour(names: Sequence[str], name: str) -> str:
    others = [n for n in names if n != BASELINE]
    return GREY if name == BASELINE else COLOURS[others.index(name) % len(COLOURS)]


def curves(ratios: Curves) -> Figure:
    """Share of all hits found by round: mean over units, band of one sd over units; random in grey."""
    names = list(ratios)
    figure = _figure(6.4, 4.0)
    axes = figure.add_subplot()
    units, rounds = next(iter(ratios.values())).shape
    at = np.arange(rounds + 1)
    for name in names:
        values = np.concatenate([np.zeros((len(ratios[name]), 1)), ratios[name]], axis=1)
        mean, sd = values.mean(axis=0), values.std(axis=0, ddof=1) if units > 1 else np.zeros(rounds + 1)
        colour = _colour(names, name)
        style = "--" if name.endswith("!permuted") else "-"
        axes.plot(
            at, mean, style, color=colour, marker="o", markersize=3.5, linewidth=1.8, label=_shown(name)
        )
        axes.fill_between(
            at, np.maximum(mean - sd, 0), np.minimum(mean + sd, 1), color=colour, alpha=0.15, linewidth=0
        )
    _label_ends(axes, {n: float(ratios[n][:, -1].mean()) for n in names}, names, rounds)
    axes.set_xticks(at)
    axes.set_xlim(-0.1, rounds + 0.15)
    axes.set_ylim(0, None)
    axes.set_xlabel("round")
    axes.set_ylabel("share of all hits found")
    band = "; band: one sd over units" if units > 1 else ""
    axes.set_title(f"mean of {units} unit{'s' if units > 1 else ''}{band} (exploratory)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _label_ends(axes: object, ends: Mapping[str, float], names: Sequence[str], rounds: int) -> None:
    """Each curve's name and last value beside its end, moved apart where they would overlap."""
    gap = 0.055 * max(axes.get_ylim()[1], 1e-9)  # type: ignore[attr-defined]  # matplotlib's axes are untyped here
    last = -np.inf
    for name in sorted(names, key=lambda n: ends[n]):
        y = max(ends[name], last + gap)
        last = y
        axes.annotate(  # type: ignore[attr-defined]  # likewise
            f"{_shown(name)} {ends[name]:.2f}", (rounds, y), xytext=(8, 0), textcoords="offset points", va="center",
            fontsize=8, color=_colour(names, name), annotation_clip=False,
        )  # fmt: skip


def bars(ratios: Curves, nonessential: Curves) -> Figure:
    """The last round: all hits and non-essential hits side by side, sd over units, random as a dashed line."""
    names = [n for n in ratios if n != BASELINE] or list(ratios)
    sides = [("all hits", ratios), *([("non-essential hits", nonessential)] if nonessential else [])]
    figure = _figure(max(4.2, 1.6 + 1.3 * len(names)), 3.8)
    axes = figure.add_subplot()
    width = 0.8 / len(sides)
    for k, (label, values) in enumerate(sides):
        colour = (COLOURS[0], COLOURS[5])[k]
        for i, name in enumerate(names):
            last = values[name][:, -1]
            sd = float(last.std(ddof=1)) if len(last) > 1 else 0.0
            x = i + (k - (len(sides) - 1) / 2) * width
            axes.bar(x, last.mean(), 0.92 * width, color=colour, label=label if i == 0 else None)
            axes.errorbar(x, last.mean(), sd, color=INK, linewidth=1, capsize=3)
            axes.annotate(f"{last.mean():.2f}", (x, last.mean() + sd), xytext=(0, 3), textcoords="offset points",
                          ha="center", fontsize=8)  # fmt: skip
        if BASELINE in values:
            axes.axhline(
                float(values[BASELINE][:, -1].mean()), color=(GREY, "#bbbbbb")[k], linestyle="--", linewidth=1.2,
                label=f"random, {label}",
            )  # fmt: skip
    axes.set_xticks(range(len(names)), [_shown(n) for n in names], fontsize=9)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(0, 1.18 * axes.get_ylim()[1])
    axes.set_ylabel("share of hits found at the end")
    axes.legend(fontsize=7.5, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    axes.spines[["top", "right"]].set_visible(False)
    return figure
