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
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Tested = Mapping[tuple[int, int], tuple[str, str]]
    """(layer, head) to (hypothesis, label), for heads with a registered hypothesis."""

CELL_INCHES = 0.42
MAP_INCHES = 5.6
"""Width of the map itself: cells of many heads stay about square."""
TALLEST_INCHES = 12.0
READABLE_INCHES = 0.34
"""Smallest cell that a printed value fits."""
ROOMY_INCHES = 0.45
"""Width from which a value is printed larger and a hypothesis with its word."""
SMALL = 0.1
"""Largest difference below which cells are printed in thousandths."""
DARK = 0.179
"""Relative luminance below which white text has more contrast than black (at least 4.58 to 1 either way)."""


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
    height = min(CELL_INCHES, MAP_INCHES / heads, TALLEST_INCHES / layers)
    figure = new_figure(WIDTH, 1.35 + layers * height)
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(differences), cmap="RdBu", norm=Normalize(-largest, largest), edgecolors="white",
        linewidth=0.8,
    )  # fmt: skip
    readable = min(height, MAP_INCHES / heads) >= READABLE_INCHES
    scale = 1000 if readable and largest < SMALL else 1
    _frame(axes, layers, heads, height)
    for (layer, head), (ref, label) in tested.items():
        _outline(axes, layer, head, label)
        if readable:
            _name(axes, layer, head, ref, label, roomy=MAP_INCHES / heads >= ROOMY_INCHES)
    if readable:
        _values(axes, mesh, differences, largest, scale, tested)
    bar = figure.colorbar(mesh, ax=axes, fraction=0.035, pad=0.02)
    if bar.solids is not None:  # vector, without seams between the steps
        bar.solids.set(rasterized=False, edgecolor="face")
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=FAINT, labelcolor=INK, length=2, labelsize=7.5)
    bar.set_label(f"mean difference in {drawable(metric, 40)}", fontsize=8)
    _legend(figure, tested, scale)
    return figure


def _frame(axes: Axes, layers: int, heads: int, height: float) -> None:
    """Layer 0 on top; heads and layers are named as often as their names fit."""
    axes.set(ylim=(layers, 0), xlim=(0, heads), facecolor="#ececec")
    heads_named = range(0, heads, math.ceil(0.32 * heads / MAP_INCHES))
    layers_named = range(0, layers, math.ceil(0.14 / height))
    axes.set_xticks([h + 0.5 for h in heads_named], [f"H{h}" for h in heads_named])
    axes.set_yticks([y + 0.5 for y in layers_named], [f"L{y}" for y in layers_named])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _values(
    axes: Axes, mesh: QuadMesh, differences: NDArray[np.float64], largest: float, scale: int, tested: Tested
) -> None:
    decimals = decimals_for(largest * scale, 3)
    size = 6.8 if MAP_INCHES / differences.shape[1] >= ROOMY_INCHES else 5.6
    for layer, row in enumerate(differences.tolist()):
        for head, value in enumerate(row):
            if math.isnan(value):
                continue
            middle = layer + (0.34 if (layer, head) in tested else 0.5)
            words, colour = (
                fixed(value * scale, decimals),
                _ink(*mesh.to_rgba(differences[layer, head : head + 1])[0, :3]),
            )
            axes.text(head + 0.5, middle, words, ha="center", va="center", fontsize=size, color=colour)


def _ink(*rgb: float) -> str:
    """Black or white, whichever reads better on the colour (relative luminance as in WCAG)."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)
    return "black" if 0.2126 * r + 0.7152 * g + 0.0722 * b > DARK else "white"


def _outline(axes: Axes, layer: int, head: int, label: str) -> None:
    """A frame in the label's colour on white, so that it shows on any cell."""
    from matplotlib.patches import Rectangle

    for colour, width in (("white", 4.6), (LOOKS[label].colour, 2.2)):
        axes.add_patch(
            Rectangle((head + 0.06, layer + 0.06), 0.88, 0.88, fill=False, edgecolor=colour, linewidth=width)
        )


def _name(axes: Axes, layer: int, head: int, ref: str, label: str, *, roomy: bool) -> None:
    """The label's marker and the hypothesis below the value; a hypothesis H3 must not be read as head H3."""
    from matplotlib.patches import Rectangle

    look = LOOKS[label]
    axes.add_patch(
        Rectangle((head + 0.08, layer + 0.55), 0.84, 0.37, facecolor="white", linewidth=0, zorder=1.5)
    )
    axes.plot(
        [head + 0.2], [layer + 0.73], marker=look.marker, markersize=4.2, color=look.colour, markeredgewidth=1.0,
        markerfacecolor=look.colour if look.filled else "white",
    )  # fmt: skip
    words = f"hyp {ref.removeprefix('H')}" if roomy else f"#{ref.removeprefix('H')}"
    axes.text(
        head + 0.59, layer + 0.735, words, ha="center", va="center", fontsize=5.8, color=INK, weight="bold"
    )


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
