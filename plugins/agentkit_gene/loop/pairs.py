"""Pickers for gene pairs: what two genes share, and how often pairs with either gene were hits.

Round 1 ranks pairs by what their genes share (pathways, processes, neighbours, sets). Later: extra-trees on the
pair's features, plus 0.7 of the rank of the two genes' hit rates, each shrunk by three pairs at the base rate.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agentkit_gene.loop.learners import extra_trees
from agentkit_gene.loop.pickers import Ranking, Reasons
from agentkit_gene.loop.ranks import rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.screen import Library, View

    Floats = NDArray[np.float64]

PAIR_VERSION = "1"
COORDINATES = 20
SHARED_BLOCKS = ("path", "go", "ppi")
TREES = 150
TREE_COLUMNS = 0.3
GENE_WEIGHT = 0.7
PSEUDO_PAIRS = 3.0
PSEUDO_HITS = 0.3
"""Three pairs at the usual 10 % of hits."""
FEWEST_HITS = 2


class PairFeatures:
    """What is known about each pair of a library; computed once, shared by all units and rounds."""

    def __init__(self, library: Library, knowledge: Knowledge) -> None:
        self.library, self.knowledge = library, knowledge
        self.a, self.b = library.members.T

    @cached_property
    def cosines(self) -> dict[str, Floats]:
        """(pairs,) cosine of the two genes' features, by block."""
        out = {}
        for block in self.knowledge.blocks:
            x = self.knowledge.x[:, block.start : block.stop].astype(np.float64)
            length = np.sqrt((x**2).sum(axis=1, keepdims=True))
            x = x / np.where(length > 0, length, 1.0)
            out[block.name] = (x @ x.T)[self.a, self.b]
        return out

    @cached_property
    def shared_sets(self) -> Floats:
        """(pairs,) ln(1 + gene sets that hold both)."""
        member = self.knowledge.membership
        return np.asarray(np.log1p((member @ member.T).toarray()[self.a, self.b]))

    @cached_property
    def first(self) -> Floats:
        """(pairs,) the score before any result."""
        known = [rank(self.cosines[b]) for b in SHARED_BLOCKS if b in self.cosines]
        return np.asarray(np.sum([*known, rank(self.shared_sets)], axis=0))

    @cached_property
    def x(self) -> NDArray[np.float32]:
        """(pairs, features): cosines, edge weight, shared sets; sum, difference and product of principal coordinates."""
        centred = self.knowledge.x.astype(np.float64)
        centred = centred - centred.mean(axis=0)
        u, s, _ = np.linalg.svd(centred, full_matrices=False)
        u = (u * s)[:, :COORDINATES]
        signs = np.where(u[np.abs(u).argmax(axis=0), np.arange(u.shape[1])] < 0, -1.0, 1.0)
        ua, ub = (u * signs)[self.a], (u * signs)[self.b]
        edge = self.knowledge.adjacency.toarray()[self.a, self.b]
        columns = [*self.cosines.values(), edge, self.shared_sets]
        return np.concatenate(
            [np.stack(columns, axis=1), ua + ub, np.abs(ua - ub), ua * ub], axis=1, dtype=np.float32
        )

    def hit_rates(self, tested: NDArray[np.int64], labels: NDArray[np.bool_]) -> Floats:
        """(genes,) hit rate among tested pairs with the gene, shrunk."""
        n = len(self.library.genes)
        both = np.concatenate([self.a[tested], self.b[tested]])
        hits = np.bincount(both, weights=np.tile(labels, 2).astype(np.float64), minlength=n)
        return np.asarray((hits + PSEUDO_HITS) / (np.bincount(both, minlength=n) + PSEUDO_PAIRS))


class PairPicker:
    """One of `prior`, `trees`, `prior+trees` and `prior+ens` for pairs."""

    version = PAIR_VERSION

    def __init__(self, name: str, features: PairFeatures) -> None:
        self.name, self.features = name, features

    def propose(self, views: Sequence[View]) -> list[Ranking]:
        """Shared knowledge (or chance, for `trees`) in round 1; later what the tested pairs teach."""
        return [self._one(view) for view in views]

    def _one(self, view: View) -> Ranking:
        f = self.features
        if self.name == "trees" and not len(view.tested):
            return Ranking(view.uniforms("random"))
        if self.name == "prior" or view.labels.sum() < FEWEST_HITS or view.labels.all():
            return Ranking.of([("prior", 1.0, rank(f.first))])
        forest = extra_trees(
            f.x, view.tested, view.labels, view.rng("trees"), trees=TREES, columns=TREE_COLUMNS
        )
        parts = [("trees", 1.0, rank(forest))]
        if self.name == "prior+ens":
            rates = f.hit_rates(view.tested, view.labels)
            parts.append(("genes", GENE_WEIGHT, rank(rates[f.a] + rates[f.b])))
        return Ranking.of(parts, reasons=lambda row: self._reasons(view, row))

    def _reasons(self, view: View, row: int) -> Reasons:
        """Sets that hold both genes, smallest first, and tested hits that share a gene."""
        f, k = self.features, self.features.knowledge
        both = k.membership[f.a[row]].multiply(k.membership[f.b[row]]).nonzero()[1]
        order = both[np.argsort(k.set_sizes[both], kind="stable")][:3]
        sets = tuple((k.set_names[s], float(1 / k.set_sizes[s])) for s in order)
        members = {f.a[row], f.b[row]}
        near = [r for r in view.tested[view.labels] if {f.a[r], f.b[r]} & members]
        return Reasons(sets, tuple((view.library.symbols[r], 1.0) for r in near[:3]))
