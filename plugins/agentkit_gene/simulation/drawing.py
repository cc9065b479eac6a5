"""Pictures: violins of a readout, heat maps, a network with effects (drawn without graphviz)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from agentkit_gene.simulation.network import Network
    from agentkit_gene.simulation.program import Floats

INK, GREY, WARM, COOL, ACTIVATES = "#222222", "#9a9a9a", "#b2182b", "#2166ac", "#3a7d44"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def violins(cells: Mapping[str, np.ndarray], label: str) -> Figure:
    """One violin a condition with its mean, the baseline first in grey."""
    names = list(cells)
    figure = _figure(max(4.0, 1.4 + 0.9 * len(names)), 3.8)
    axes = figure.add_subplot()
    for i, name in enumerate(names):
        values = np.asarray(cells[name], dtype=np.float64)
        colour = GREY if i == 0 else COOL
        if np.ptp(values) > 0:
            parts: Any = axes.violinplot([values], positions=[i], widths=0.8, showextrema=False)
            parts["bodies"][0].set(facecolor=colour, alpha=0.6, edgecolor=INK, linewidth=0.5)
        axes.plot([i - 0.3, i + 0.3], [values.mean()] * 2, color=INK, linewidth=1.6)
        axes.annotate(
            f"{values.mean():.3g}",
            (i, values.max()),
            (0, 3),
            textcoords="offset points",
            fontsize=8,
            ha="center",
            va="bottom",
        )
    axes.set_xticks(
        range(len(names)),
        names,
        rotation=30 if len(names) > 3 else 0,
        ha="right" if len(names) > 3 else "center",
        fontsize=9,
    )
    axes.set_xlim(-0.7, len(names) - 0.3)
    axes.set_title("bar and number: mean", fontsize=8, loc="left", color="#555555")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def heat_map(matrix: Floats, rows: Sequence[str], columns: Sequence[str], label: str) -> Figure:
    """Signed values, red up and blue down, symmetric about 0; absent cells are grey."""
    limit = float(np.nanmax(np.abs(matrix))) if np.isfinite(matrix).any() else 1.0
    figure = _figure(min(16.0, 2.8 + 0.28 * len(columns)), min(14.0, 1.6 + 0.24 * len(rows)))
    axes = figure.add_subplot()
    axes.set_facecolor("#dddddd")
    shown = np.ma.masked_invalid(matrix)
    image = axes.imshow(shown, cmap="RdBu_r", vmin=-(limit or 1.0), vmax=limit or 1.0, aspect="auto")
    _ticks(axes, columns, axis="x")
    _ticks(axes, rows, axis="y")
    figure.colorbar(image, ax=axes, label=label, fraction=0.05, pad=0.02)
    return figure


def _ticks(axes: Any, names: Sequence[str], *, axis: str) -> None:
    """At most 60 labels, evenly thinned."""
    step = -(-len(names) // 60)
    places = list(range(0, len(names), step))
    labels = [names[i] for i in places]
    if axis == "x":
        axes.set_xticks(places, labels, rotation=90, fontsize=7)
    else:
        axes.set_yticks(places, labels, fontsize=7)


def calibration(truth: Floats, predicted: Mapping[str, Floats]) -> Figure:
    """Predicted against true change, one panel a predictor; a perfect one lies on the diagonal."""
    names = list(predicted)
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = _figure(2.5 * columns, 2.5 * rows + 0.3)
    limit = 1.05 * float(max(np.abs(truth).max(), *(np.abs(p).max() for p in predicted.values()))) or 1.0
    for i, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.plot([-limit, limit], [-limit, limit], color=GREY, linewidth=0.8)
        axes.scatter(truth.ravel(), predicted[name].ravel(), s=5, color=COOL, alpha=0.35, linewidths=0)
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
    figure.supxlabel("true change of mean log(1+x)", fontsize=9)
    figure.supylabel("predicted", fontsize=9)
    return figure


def network(net: Network, effect: Floats, title: str) -> Figure:
    """Genes in layers from masters to leaves (on a circle where cycles make layers pointless), coloured by effect.

    Green arrows activate, red bars repress.
    """
    places = _places(net)
    xs, ys = ([xy[i] for xy in places.values()] for i in (0, 1))
    width, depth = max(xs) - min(xs) + 1, max(ys) - min(ys) + 1
    figure = _figure(max(4.5, 1.1 * width + 1.4), max(3.2, 1.25 * depth + 0.8))
    axes = figure.add_subplot()
    limit = float(np.max(np.abs(effect))) or 1.0
    for regulator, target, sign in net.edges:
        if regulator == target:
            _self_loop(axes, places[regulator], sign)
        else:
            _edge(axes, places[regulator], places[target], sign)
    xy = np.array([places[n] for n in net.names])
    dots = axes.scatter(
        xy[:, 0], xy[:, 1], s=620, c=effect, cmap="RdBu_r", vmin=-limit, vmax=limit, edgecolors=INK, zorder=3
    )
    for name, (x, y) in places.items():
        strong = abs(effect[net.index[name]]) > 0.6 * limit
        size = 8 if len(name) < 5 else 6
        axes.text(
            x, y, name, ha="center", va="center", fontsize=size, color="white" if strong else INK, zorder=4
        )
    figure.colorbar(dots, ax=axes, label="change of mean log(1+x)", fraction=0.05, pad=0.02)
    axes.set_title(f"{title}\ngreen arrows activate, red bars repress", fontsize=9)
    axes.margins(0.15)
    axes.set_axis_off()
    return figure


def _arrow(sign: int, curve: str, shrink: float) -> dict[str, Any]:
    return {
        "arrowstyle": {1: "-|>", -1: "|-|,widthA=0,widthB=0.55"}.get(sign, "->"),
        "color": {1: ACTIVATES, -1: WARM}.get(sign, GREY),
        "linewidth": 1.2,
        "shrinkA": shrink,
        "shrinkB": shrink,
        "connectionstyle": curve,
    }


def _edge(axes: Any, start: tuple[float, float], end: tuple[float, float], sign: int) -> None:
    """A curve that bends the more the farther it goes, so that it passes beside the genes between."""
    layers = abs(start[1] - end[1])
    bend = 0.14 + 0.06 * min(3.0, max(0.0, layers - 1))
    if layers > 1 and end[0] > start[0]:  # outwards, also to the right
        bend = -bend - 0.1
    axes.annotate("", end, start, arrowprops=_arrow(sign, f"arc3,rad={bend:.2f}", 14), zorder=2)


def _self_loop(axes: Any, place: tuple[float, float], sign: int) -> None:
    """A loop at the right of a gene, in points, so that it touches the gene whatever the scale."""
    from matplotlib.transforms import Affine2D, ScaledTranslation

    points = Affine2D().scale(1 / 72) + axes.figure.dpi_scale_trans
    at = points + ScaledTranslation(*place, axes.transData)
    axes.annotate(
        "",
        (12, -7),
        (12, 7),
        xycoords=at,
        textcoords=at,
        arrowprops=_arrow(sign, "arc3,rad=-1.7", 0),
        zorder=2,
        annotation_clip=False,
    )


def _places(net: Network) -> dict[str, tuple[float, float]]:
    """(x, y) of every gene, y falling from masters to leaves."""
    layers = _layered(net)
    depth = 1 + max(y for _, y in layers.values())
    width = len(net.names) / depth
    if depth > 4 and depth > 2 * width:
        n = len(net.names)
        radius = max(1.5, 0.2 * n)
        turns = {name: np.pi / 2 - 2 * np.pi * i / n for i, name in enumerate(net.names)}
        return {k: (float(radius * np.cos(a)), float(radius * np.sin(a))) for k, a in turns.items()}
    return {name: (x, -float(y)) for name, (x, y) in layers.items()}


def _layered(net: Network) -> dict[str, tuple[float, int]]:
    """(x, layer) per gene: layer = longest path from a gene without (other) regulators, cycles cut where first met."""
    layer: dict[str, int] = {}

    def depth(name: str, above: tuple[str, ...]) -> int:
        if name not in layer:
            parents = [r for r in dict.fromkeys(net.gene(name).regulators()) if r != name and r not in above]
            layer[name] = 1 + max((depth(p, (*above, name)) for p in parents), default=-1)
        return layer[name]

    for name in net.names:
        depth(name, ())
    places: dict[str, tuple[float, int]] = {}
    for level in sorted(set(layer.values())):
        members = [n for n in net.names if layer[n] == level]
        members.sort(key=lambda n: _mean_x(net, n, places))
        for i, n in enumerate(members):
            places[n] = (i - (len(members) - 1) / 2 + 0.25 * (level % 2), level)
    return places


def _mean_x(net: Network, name: str, places: Mapping[str, tuple[float, int]]) -> float:
    above = [places[r][0] for r in net.gene(name).regulators() if r in places]
    return float(np.mean(above)) if above else 0.0
