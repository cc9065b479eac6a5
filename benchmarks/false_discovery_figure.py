"""The figure of FalseDiscoveryBench: a panel per guard, a row per agent, a mark per world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from false_discovery_guards import Tally

from agentkit.report.canvas import (
    FAINT,
    GRID,
    INK,
    SERIES,
    SERIES_MARKERS,
    WIDTH,
    drawn,
    new_figure,
    styled,
    tidy,
)

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Cells = Mapping[tuple[str, str, str], Tally]
"""Tallies by world, agent and guard."""
DPI = 160
ROW_INCHES = 0.34


def save(cells: Cells, folder: Path, alpha: float) -> list[Path]:
    """Write `false_discovery.png` and `.svg`; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    svg, png = folder / "false_discovery.svg", folder / "false_discovery.png"
    svg.write_text(drawn(picture, cells, alpha), encoding="utf-8")
    with styled():
        picture(cells, alpha).savefig(png, dpi=DPI)
    return [png, svg]


def picture(cells: Cells, alpha: float) -> Figure:
    """False discovery rate of every cell, one panel per guard."""
    worlds, agents, guards = (list(dict.fromkeys(key[i] for key in cells)) for i in range(3))
    figure = new_figure(WIDTH, ROW_INCHES * len(agents) + 1.9)
    panels: Sequence[Axes] = list(figure.subplots(1, len(guards), sharey=True, squeeze=False)[0])
    for axes, guard in zip(panels, guards, strict=True):
        _panel(axes, cells, worlds, agents, guard, alpha)
    panels[0].set_yticks(range(len(agents)), agents)
    handles, labels = panels[0].get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    figure.legend(
        known.values(), known.keys(), loc="outside lower center", ncols=2, frameon=False, handletextpad=0.3
    )
    panels[len(panels) // 2].set_xlabel(
        "false discovery rate, mean over campaigns (dashed: the level promised)"
    )
    return figure


def _panel(
    axes: Axes, cells: Cells, worlds: Sequence[str], agents: Sequence[str], guard: str, alpha: float
) -> None:
    tidy(axes)
    axes.set_title(guard, loc="left", color=INK)
    axes.set_xlim(-0.04, 1.04)
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.set_ylim(len(agents) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.axvline(alpha, color=FAINT, linewidth=0.9, linestyle=(0, (4, 2)))
    spread = np.linspace(-0.24, 0.24, len(worlds))
    for i, world in enumerate(worlds):
        rows = [
            (a, cells[world, name, guard].fdr[0])
            for a, name in enumerate(agents)
            if (world, name, guard) in cells
        ]
        axes.scatter(
            [fdr for _, fdr in rows],
            [a + spread[i] for a, _ in rows],
            s=13,
            color=SERIES[i % len(SERIES)],
            marker=SERIES_MARKERS[i // len(SERIES) * 2 + i % 2],
            linewidths=0,
            label=world,
            zorder=3,
        )
