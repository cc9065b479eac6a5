"""The layer x head map of an exploration: mean difference to baseline, and what was later tested."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agentkit.report.canvas import FAINT, INK, LOOKS, WIDTH, drawable, handle, new_figure
from agentkit.report.numbers import decimals_for, fixed

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Tested = Mapping[tuple[int, int], tuple[str, str]]
    """(layer, head) to (hypothesis, label), for heads with a registered hypothesis."""

MOST_HEADS_WITH_VALUES = 16
CELL_INCHES = 0.42
MAP_INCHES = 5.6
"""Width of the map itself: cells of many heads stay about square."""
SMALL = 5e-3
"""Largest difference below which cells are printed in thousandths."""
DARK = 0.62
"""Share of the largest difference from which a cell's colour is too dark for dark text."""


def head_map(differences: NDArray[np.float64], metric: str, tested: Tested) -> Figure:
    """Colours centred on 0, the value in each cell; tested heads are outlined and carry their hypothesis.

    Args:
        differences: (layer, head), mean over units of head perturbed minus baseline; NaN where not explored.
        metric: what is measured.
        tested: heads with a hypothesis, and its label.
    """
    import numpy as np
    from matplotlib.colors import Normalize

    layers, heads = differences.shape
    largest = float(np.nanmax(np.abs(differences))) or 1.0
    scale = 1000 if largest < SMALL else 1
    figure = new_figure(WIDTH, 1.35 + layers * min(CELL_INCHES, MAP_INCHES / heads))
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(differences), cmap="RdBu", norm=Normalize(-largest, largest), edgecolors="white",
        linewidth=0.8,
    )  # fmt: skip
    _frame(axes, layers, heads)
    for (layer, head), (ref, label) in tested.items():
        _outline(axes, layer, head, ref, label, with_name=heads <= MOST_HEADS_WITH_VALUES)
    if heads <= MOST_HEADS_WITH_VALUES:
        _values(axes, differences, largest, scale, tested)
    bar = figure.colorbar(mesh, ax=axes, fraction=0.035, pad=0.02)
    if bar.solids is not None:  # vector, without seams between the steps
        bar.solids.set(rasterized=False, edgecolor="face")
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=FAINT, labelcolor=INK, length=2, labelsize=7.5)
    bar.set_label(f"mean difference in {drawable(metric, 40)}", fontsize=8)
    _legend(figure, tested, scale)
    return figure


def _frame(axes: Axes, layers: int, heads: int) -> None:
    """Layer 0 on top; every head and layer named while the names fit, else every fourth."""
    axes.set(ylim=(layers, 0), xlim=(0, heads), facecolor="#ececec")
    heads_named = range(0, heads, 1 if heads <= MOST_HEADS_WITH_VALUES else 4)
    layers_named = range(0, layers, 1 if layers <= 24 else 4)
    axes.set_xticks([h + 0.5 for h in heads_named], [f"H{h}" for h in heads_named])
    axes.set_yticks([y + 0.5 for y in layers_named], [f"L{y}" for y in layers_named])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _values(axes: Axes, differences: NDArray[np.float64], largest: float, scale: int, tested: Tested) -> None:
    decimals = decimals_for(largest * scale, 3)
    size = 6.8 if differences.shape[1] <= 12 else 5.6
    for layer, row in enumerate(differences.tolist()):
        for head, value in enumerate(row):
            if math.isnan(value):
                continue
            colour = "white" if abs(value) > DARK * largest else INK
            middle = layer + (0.34 if (layer, head) in tested else 0.5)
            words = fixed(value * scale, decimals)
            axes.text(head + 0.5, middle, words, ha="center", va="center", fontsize=size, color=colour)


def _outline(axes: Axes, layer: int, head: int, ref: str, label: str, *, with_name: bool) -> None:
    """A frame in the label's colour on white, so that it shows on any cell; below the value marker and name."""
    from matplotlib.patches import Rectangle

    look = LOOKS[label]
    for colour, width in (("white", 4.6), (look.colour, 2.2)):
        axes.add_patch(
            Rectangle((head + 0.06, layer + 0.06), 0.88, 0.88, fill=False, edgecolor=colour, linewidth=width)
        )
    if not with_name:
        return
    axes.add_patch(
        Rectangle((head + 0.08, layer + 0.55), 0.84, 0.37, facecolor="white", linewidth=0, zorder=1.5)
    )
    axes.plot(
        [head + 0.2], [layer + 0.73], marker=look.marker, markersize=4.2, color=look.colour, markeredgewidth=1.0,
        markerfacecolor=look.colour if look.filled else "white",
    )  # fmt: skip
    # a hypothesis H3 is not head H3
    axes.text(
        head + 0.59, layer + 0.735, f"hyp {ref.removeprefix('H')}", ha="center", va="center", fontsize=5.8, color=INK,
        weight="bold",
    )  # fmt: skip


def _legend(figure: Figure, tested: Tested, scale: int) -> None:
    used = {label for _, label in tested.values()}
    handles = [handle(label, linewidth=0) for label in LOOKS if label in used]
    title = "outlined: verdict, from fresh units" if handles else ""
    if scale > 1:
        title = f"cells: difference × {scale}" + (f";  {title}" if title else "")
    if title:
        figure.legend(
            handles=handles, loc="outside lower left", ncols=max(len(handles), 1), frameon=False, handlelength=1.2,
            title=title, alignment="left", title_fontsize=8,
        )  # fmt: skip
