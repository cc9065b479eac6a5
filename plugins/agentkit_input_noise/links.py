"""Link prediction on perturbed graphs: the kernel of `noise.graph`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from agentkit import BASELINE, Measurements
from agentkit.errors import ParamError, TargetError
from agentkit_input_noise import curve_files, edges, keyed, sweep
from agentkit_input_noise.graph import normalised
from agentkit_input_noise.graph_tool import RANK_KIND
from agentkit_input_noise.needs import GRAPH, LINKER, fetch
from agentkit_input_noise.roc import auroc
from agentkit_input_noise.sweep import CHANCE, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit import Context, Metric, Unit
    from agentkit_input_noise.graph import Floats, Graph, Ints
    from agentkit_input_noise.graph_tool import GraphNoise

METRICS = ("recall_at_k", "link_auc", "edit_rate")


class LinkPredictor(Protocol):
    """What `noise.graph` asks of a target."""

    def score(self, graph: Floats, left: Floats | None, right: Floats | None) -> Floats:
        """How likely every pair is an edge, shape (left, right)."""


class Split(NamedTuple):
    """One unit's question: edges that are known, edges to find again, and as many pairs that are no edges."""

    known: Ints
    hidden: Ints
    absent: Ints


class View(NamedTuple):
    """What the predictor gets to see, and the measured strength."""

    graph: Floats
    left: Floats | None
    right: Floats | None
    edit_rate: float


def measure(
    params: GraphNoise, units: Sequence[Unit], ctx: Context, metrics: Sequence[Metric]
) -> Measurements:
    """All conditions on all units; see the tool's docstring."""
    predictor: LinkPredictor = fetch(ctx, params.target, LINKER)
    graph = fetch(ctx, params.data, GRAPH)
    require_usable(graph, params)
    cells = {name: cell for name, cell in cells_of(params).items() if ctx.wants(name)}
    conditions = [BASELINE, *([CHANCE] if ctx.wants(CHANCE) else []), *cells]
    values = np.zeros((len(METRICS), len(units), len(conditions)))
    for u, unit in enumerate(units):
        split = hide(graph, params.items, unit)
        for c, view in enumerate(views(graph, split, cells, unit, conditions).values()):
            found = checked(predictor.score(view.graph, view.left, view.right), graph)
            if conditions[c] == CHANCE:
                found = unit.rng("chance").permuted(found, axis=1)
            values[:, u, c] = (*scores(found, split, params.k), view.edit_rate)
        ctx.progress(u + 1, len(units))
    table = Measurements.from_arrays(units, conditions, dict(zip(METRICS, values, strict=True)))
    draw(ctx, params, table, metrics, units)
    return table


def draw(
    ctx: curve_files.Files,
    params: GraphNoise,
    table: Measurements,
    metrics: Sequence[Metric],
    units: Sequence[Unit],
) -> None:
    """Store curves and claims of a whole exploration."""
    kinds = [k for k in params.kinds if k != RANK_KIND]
    drawn = [m for m in metrics if m.name != "edit_rate"]
    curve_files.write(
        ctx, table, units, curve_files.Sweep(kinds, params.strengths, drawn, axis="share edited")
    )


def cells_of(params: GraphNoise) -> dict[str, tuple[str, float]]:
    """Kind and strength or rank of every condition but `baseline` and `chance`."""
    return {
        name_of(kind, s): (kind, s)
        for kind in params.kinds
        for s in (params.ranks if kind == RANK_KIND else params.strengths)
    }


def require_usable(graph: Graph, params: GraphNoise) -> None:
    """Refuse what cannot be asked of this graph.

    Raises:
        ParamError: a graph without edges, more suggestions than nodes, features that are not there, a rank
            beyond the graph's.
    """
    if len(graph.edges) == 0:
        raise ParamError(
            "the graph has no edges, so there is no link to hide or to predict; give another graph"
        )
    if params.k >= graph.shape[1]:
        raise ParamError(
            f"k {params.k} suggestions among {graph.shape[1]} nodes are all of them; ask for fewer"
        )
    if "feature_mask" in params.kinds and (graph.left_features is None or graph.right_features is None):
        raise ParamError("feature_mask: this graph's nodes have no features; leave it out")
    if RANK_KIND in params.kinds and max(params.ranks) > min(graph.shape):
        raise ParamError(f"svd_rank {max(params.ranks)}: this graph's rank is at most {min(graph.shape)}")


def hide(graph: Graph, items: int, unit: Unit) -> Split:
    """Hide edges at random, never the last one of a node, and draw as many pairs that are no edges.

    Raises:
        ParamError: fewer edges can be hidden than `items`, or there are not as many pairs without an edge.
    """
    rng = unit.rng("items")
    degrees = [np.bincount(graph.edges[:, side], minlength=graph.shape[side]) for side in (0, 1)]
    hidden: list[int] = []
    for e in rng.permutation(len(graph.edges)).tolist():
        ends = graph.edges[e]
        if len(hidden) < items and all(degrees[side][ends[side]] > 1 for side in (0, 1)):
            for side in (0, 1):
                degrees[side][ends[side]] -= 1
            hidden.append(e)
    if len(hidden) < items:
        raise ParamError(
            f"{items} edges were to be hidden; only {len(hidden)} of {len(graph.edges)} are no node's last one: "
            f"ask for at most {len(hidden)} items"
        )
    free = np.ones(graph.shape, dtype=np.bool_)
    free[graph.edges[:, 0], graph.edges[:, 1]] = False
    pairs = np.argwhere(free)
    if len(pairs) < items:
        raise ParamError(
            f"the graph has only {len(pairs)} pairs without an edge to compare {items} edges with"
        )
    absent = pairs[unit.rng("absent").choice(len(pairs), size=items, replace=False)]
    known = np.delete(graph.edges, hidden, axis=0)
    return Split(known, graph.edges[hidden], absent)


def views(
    graph: Graph, split: Split, cells: dict[str, tuple[str, float]], unit: Unit, conditions: Sequence[str]
) -> dict[str, View]:
    """What the predictor sees in every condition, in their order."""
    clean = normalised(graph, split.known)
    left, right = graph.left_features, graph.right_features
    parts = (
        np.linalg.svd(clean, full_matrices=False) if any(k == RANK_KIND for k, _ in cells.values()) else None
    )
    found: dict[str, View] = {}
    for name in conditions:
        kind, strength = cells.get(name, ("", 0.0))
        if kind == RANK_KIND:
            assert parts is not None  # noqa: S101 - computed above when a rank is asked for
            found[name] = View(*low_rank(parts, clean, int(strength), left, right))
        elif kind == "feature_mask":
            found[name] = _masked(clean, left, right, strength, unit)
        elif kind:
            key = keyed.stream_key(unit.rng(f"noise.graph.{kind}"))
            noised = edges.KINDS[kind](graph, split.known, split.hidden, strength, key)
            sweep.require_edits(kind, strength, noised.edited, noised.editable, len(split.known))
            if len(noised.edges) == 0:
                raise ParamError(f"{name} leaves no edge of {len(split.known)}; ask for less")
            found[name] = View(normalised(graph, noised.edges), left, right, noised.edited / noised.editable)
        else:
            found[name] = View(clean, left, right, 0.0)
    return found


def low_rank(
    parts: Any, clean: Floats, rank: int, left: Floats | None, right: Floats | None
) -> tuple[Floats, Floats | None, Floats | None, float]:
    """The graph's best approximation of a rank, and the share of its norm that is lost."""
    u, s, v = parts
    graph = (u[:, :rank] * s[:rank]) @ v[:rank]
    lost = float(np.linalg.norm(clean - graph)) / float(np.linalg.norm(clean))
    return graph, left, right, min(lost, 1.0)


def _masked(clean: Floats, left: Any, right: Any, share: float, unit: Unit) -> View:
    noised = [
        edges.masked(side, share, keyed.stream_key(unit.rng(f"noise.graph.feature_mask.{where}")))
        for where, side in (("left", left), ("right", right))
    ]
    editable = left.size + right.size
    edited = sum(count for _, count in noised)
    sweep.require_edits("feature_mask", share, edited, editable, len(left) + len(right))
    return View(clean, noised[0][0], noised[1][0], edited / editable)


def scores(found: Floats, split: Split, k: int) -> tuple[float, float]:
    """Share of hidden edges among their left node's k best unknown pairs, and area under the ROC curve; ties count half."""
    of_hidden, of_absent = (found[pairs[:, 0], pairs[:, 1]] for pairs in (split.hidden, split.absent))
    unknown = found.copy()
    unknown[split.known[:, 0], split.known[:, 1]] = -np.inf
    rows = unknown[split.hidden[:, 0]]
    above = (rows > of_hidden[:, None]).sum(axis=1)
    tied = (rows == of_hidden[:, None]).sum(axis=1) - 1
    recall = np.clip((k - above) / (tied + 1), 0, 1)  # a tie is broken by lot: its chance to be among the k
    return float(recall.mean()), auroc(of_absent, of_hidden)


def checked(found: Any, graph: Graph) -> Floats:
    """The predictor's scores; raises `TargetError` for another shape, NaN or an infinity."""
    array = np.asarray(found, dtype=np.float64)
    if array.shape != graph.shape:
        raise TargetError(f"score gave shape {array.shape}; {graph.shape} was expected")
    if not np.isfinite(array).all():
        raise TargetError("score gave NaN or an infinity")
    return array
