"""Noise on edges and node features, keyed and nested: what happens at strength p happens at every larger one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agentkit_input_noise import keyed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agentkit_input_noise.graph import Floats, Graph, Ints


class NoisedEdges(NamedTuple):
    """Edges after noise, with how many were edited and how many could have been."""

    edges: Ints
    edited: int
    editable: int


def drop(graph: Graph, edges: Ints, hidden: Ints, share: float, key: int) -> NoisedEdges:
    """A share of the edges disappears."""
    gone = keyed.below(_hashes(graph, edges, key), share)
    return NoisedEdges(edges[~gone], int(gone.sum()), len(edges))


def add(graph: Graph, edges: Ints, hidden: Ints, share: float, key: int) -> NoisedEdges:
    """False edges appear, `share` times as many as there are; a hidden edge is never among them."""
    free = np.ones(graph.shape, dtype=np.bool_)
    for taken in (edges, hidden):
        free[taken[:, 0], taken[:, 1]] = False
    candidates = np.argwhere(free)
    count = min(round(share * len(edges)), len(candidates))
    order = np.argsort(_hashes(graph, candidates, key), kind="stable")[:count]
    return NoisedEdges(np.concatenate([edges, candidates[order]]), count, min(len(edges), len(candidates)))


def swap(graph: Graph, edges: Ints, hidden: Ints, share: float, key: int) -> NoisedEdges:
    """Pairs of edges between the same two types trade right ends: every degree and pair of types stays.

    Pairs are disjoint and fixed by hash; a pair whose new edges would exist already (hidden ones too) is left.
    """
    hashes = _hashes(graph, edges, key)
    kinds = graph.left_types[edges[:, 0]] * (graph.right_types.max() + 1) + graph.right_types[edges[:, 1]]
    order = np.lexsort((hashes, kinds))
    same = kinds[order[:-1]] == kinds[order[1:]]
    starts, k = [], 0
    while k < len(order) - 1:
        if same[k]:
            starts.append(k)
        k += 2 if same[k] else 1
    first, other = order[np.array(starts, dtype=np.int64)], order[np.array(starts, dtype=np.int64) + 1]
    second = keyed.second(hashes[first])
    taken = {(int(a), int(b)) for part in (edges, hidden) for a, b in part}
    result, edited, editable = edges.copy(), 0, 0
    chosen = keyed.below(second, share)
    for at in np.argsort(second, kind="stable"):
        i, j = int(first[at]), int(other[at])
        new = (int(edges[i, 0]), int(edges[j, 1])), (int(edges[j, 0]), int(edges[i, 1]))
        if new[0] in taken or new[1] in taken:
            continue
        taken.update(new)
        editable += 2
        if chosen[at]:
            result[i, 1], result[j, 1] = edges[j, 1], edges[i, 1]
            edited += 2
    return NoisedEdges(result, edited, editable)


def masked(features: Floats, share: float, key: int) -> tuple[Floats, int]:
    """Features with a share of their values set to zero, and how many that were."""
    width = features.shape[1]
    hashes = keyed.position_hashes(key, np.arange(len(features)), np.full(len(features), width))
    gone = keyed.below(hashes, share).reshape(features.shape)
    return np.where(gone, 0.0, features), int(gone.sum())


def _hashes(graph: Graph, edges: Ints, key: int) -> NDArray[np.uint32]:
    return keyed.mix32(keyed.item_hash(key, edges[:, 0] * graph.shape[1] + edges[:, 1]))


KINDS = {"edge_drop": drop, "edge_add": add, "type_swap": swap}
