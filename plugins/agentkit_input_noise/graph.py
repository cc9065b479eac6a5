"""Bipartite graphs with typed nodes: one made from planted groups, or a user's edge list."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from agentkit.errors import TargetError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

SEED = 20_235
LEFT, RIGHT, GROUPS, TYPES, FEATURES = 300, 200, 12, 4, 16
EDGES_PER_NODE = 14
INSIDE = 0.75
"""Share of a node's edges that lead into its own group."""

MOST_PAIRS = 25_000_000


@dataclass(frozen=True, eq=False)
class Graph:
    """Who is linked with what.

    Attributes:
        edges: distinct pairs of a left and a right node, shape (edges, 2).
        left_types: type of every left node, shape (left,).
        right_types: type of every right node, shape (right,).
        left_features: shape (left, features), or None.
        right_features: shape (right, features), or None.
    """

    edges: Ints = field(repr=False)
    left_types: Ints = field(repr=False)
    right_types: Ints = field(repr=False)
    left_features: Floats | None = field(default=None, repr=False)
    right_features: Floats | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of left and right nodes."""
        return len(self.left_types), len(self.right_types)


@cache
def blocks() -> Graph:
    """300 and 200 nodes in 12 planted groups of 4 types: most edges stay in a group, some nodes are popular.

    Features are a group's direction and as much noise, so they tell a part of what the edges tell.
    """
    rng = np.random.Generator(np.random.PCG64(SEED))
    left, right = np.arange(LEFT) % GROUPS, np.arange(RIGHT) % GROUPS
    popular = rng.pareto(2.0, RIGHT) + 1
    found = set()
    for node in range(LEFT):
        inside = rng.random(EDGES_PER_NODE) < INSIDE
        for own in inside:
            weight = popular * (right == left[node]) if own else popular
            found.add((node, int(rng.choice(RIGHT, p=weight / weight.sum()))))
    centres = rng.standard_normal((GROUPS, FEATURES))
    return Graph(
        edges=np.array(sorted(found)),
        left_types=left % TYPES,
        right_types=right % TYPES,
        left_features=centres[left] + rng.standard_normal((LEFT, FEATURES)),
        right_features=centres[right] + rng.standard_normal((RIGHT, FEATURES)),
    )


def from_file(path: Path) -> Graph:
    """An edge list: rows of source, target and, if wanted, their types. Nodes without a type share one.

    Raises:
        TargetError: a row with fewer than two cells, no edge at all, or a graph too large to hold.
    """
    lefts: dict[str, int] = {}
    rights: dict[str, int] = {}
    types: dict[str, int] = {}
    left_types: dict[int, int] = {}
    right_types: dict[int, int] = {}
    found = set()
    with path.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.reader(stream), 1):
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if len(cells) < 2 or not cells[0] or not cells[1]:
                raise TargetError(
                    f"graph:{path}: line {number} has no source and target; write source,target"
                )
            a, b = lefts.setdefault(cells[0], len(lefts)), rights.setdefault(cells[1], len(rights))
            found.add((a, b))
            kinds = [*cells[2:4], "", ""]
            left_types.setdefault(a, types.setdefault(kinds[0], len(types)))
            right_types.setdefault(b, types.setdefault(kinds[1], len(types)))
    if not found:
        raise TargetError(f"graph:{path} has no edge; write one edge a line: source,target")
    if len(lefts) * len(rights) > MOST_PAIRS:
        raise TargetError(
            f"graph:{path} has {len(lefts)} x {len(rights)} nodes; at most {MOST_PAIRS:,} pairs fit"
        )
    return Graph(
        edges=np.array(sorted(found)),
        left_types=np.array([left_types[k] for k in range(len(lefts))]),
        right_types=np.array([right_types[k] for k in range(len(rights))]),
    )


def content_hash(graph: Graph) -> str:
    """Hash of edges, types and features."""
    digest = hashlib.sha256()
    for part in (graph.edges, graph.left_types, graph.right_types, graph.left_features, graph.right_features):
        digest.update(b"-" if part is None else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def normalised(graph: Graph, edges: Ints) -> Floats:
    """Adjacency with both sides' degrees divided out, D^-1/2 A D^-1/2, shape (left, right)."""
    adjacency = np.zeros(graph.shape)
    adjacency[edges[:, 0], edges[:, 1]] = 1
    by_left, by_right = (1 / np.sqrt(np.maximum(adjacency.sum(axis=a), 1)) for a in (1, 0))
    found: Floats = adjacency * by_left[:, None] * by_right[None, :]
    return found


class Propagation:
    """Suggests what neighbours of neighbours are linked with, and what has similar features. Nothing is trained.

    The part of the edges is A A^T A (two steps of LightGCN's propagation, He et al., arXiv 2002.02126); the part
    of the features is the product of both sides' features after one step. Each is scaled to unit spread.
    """

    def score(self, graph: Floats, left: Floats | None, right: Floats | None) -> Floats:
        """How likely every pair is an edge, shape (left, right), from the normalised adjacency and features."""
        by_edges = graph @ (graph.T @ graph)
        total = by_edges / max(float(by_edges.std()), 1e-12)
        if left is not None and right is not None:
            by_features = (left + graph @ right) @ (right + graph.T @ left).T
            total = total + by_features / max(float(by_features.std()), 1e-12)
        found: Floats = total
        return found
