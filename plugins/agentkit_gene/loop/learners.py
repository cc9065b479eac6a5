"""What tested genes say about the others: three scores from features and sets; and seeds spread over the graph.

y is 1 for a hit or a near hit and 0 else, b its mean over the tested genes.
    trees    P(y) of 120 extra-trees, at least 3 genes a leaf, 15 % of the columns a split
    gp       b + K(g,o) (K(o,o) + 0.3 I)^-1 (y - b), K a Gaussian of the features' distance
    sets     w(s) = sum over tested members of (y - b) / (members + 4), squared with its sign; summed over a gene's sets
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit.errors import MissingExtraError
from agentkit_gene.loop.feedback import MAD_TO_SD, strength_of, strongest

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.screen import View

    Floats = NDArray[np.float64]

SLICE = 4096
"""Genes a kernel block: 4096 x 640 float64 is 21 MB."""
CACHED_GENES = 512
GP_NOISE = 0.3
GP_MOST = 2000
"""Above this many tested genes the process takes all hits and a random sample of the rest."""
WIDTH_GENES = 100
SPREAD_STEPS = 6
RESTART = 0.5
SET_SHRINKAGE = 4.0
SET_OFFSET = 5.0
LOWEST_RATE = 0.01
NEAR_SHARE = 0.10
"""A screen's threshold for hits is a convention, and a first batch holds few: genes just below it teach too. The share is
that of score feedback."""
NEAR_SDS = 2.0
"""A near hit stands out: in a batch of noise the strongest tenth does not, and teaches nothing."""


def extra_trees(
    x: NDArray[np.float32],
    rows: NDArray[np.int64],
    labels: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    trees: int = 120,
    columns: float = 0.15,
) -> Floats:
    """(genes,) probability of a hit, hits and the rest counting the same in sum; labels must hold both kinds."""
    forest = sklearn_ensemble().ExtraTreesClassifier(
        trees,
        min_samples_leaf=3,
        max_features=columns,
        class_weight="balanced",
        random_state=int(rng.integers(2**31)),
        n_jobs=1,
    )
    forest.fit(x[rows], labels)
    return _hit_share(forest, x)


def _hit_share(forest: Any, x: NDArray[np.float32]) -> Floats:
    """(genes,) mean over the trees of the hits' share in a gene's leaf.

    A slice of genes goes through all trees while it is in the cache; gene by gene the same numbers as `predict_proba`.
    """
    total = np.zeros(len(x))
    for start in range(0, len(x), CACHED_GENES):
        part = x[start : start + CACHED_GENES]
        for tree in forest.estimators_:
            found = tree.tree_.predict(part)
            total[start : start + CACHED_GENES] += found[:, 1] / found.sum(axis=1)
    return total / len(forest.estimators_)


def near_hits(view: View) -> NDArray[np.bool_]:
    """(tested,) hits, and those of the strongest tenth that lie two robust standard deviations beyond the median."""
    if not len(view.tested):
        return view.labels
    strength = strength_of(view.scores, view.library.direction)
    away = np.abs(view.scores - np.median(view.scores))
    centre = 0.0 if view.library.direction == "abs" else np.median(strength)
    stands_out = strength - centre > NEAR_SDS * MAD_TO_SD * np.median(away)
    return np.asarray(view.labels | (strongest(strength, NEAR_SHARE) & stands_out))


def at_most(view: View, count: int) -> NDArray[np.int64]:
    """Positions among the tested genes: all of them, or all hits and a random sample of the rest."""
    everyone = np.arange(len(view.tested))
    if len(everyone) <= count:
        return everyone
    first = np.where(view.labels, -1.0, view.uniforms("sample")[view.tested])
    return np.sort(np.argsort(first, kind="stable")[:count])


def sklearn_ensemble() -> Any:
    """`sklearn.ensemble`, or the pip line."""
    try:
        from sklearn import ensemble
    except ImportError:
        raise MissingExtraError(
            'pickers with trees need scikit-learn: pip install "agentkit-perturb[gene]"'
        ) from None
    return ensemble


def squared_distances(x: NDArray[np.float32], rows: NDArray[np.int64], others: NDArray[np.int64]) -> Floats:
    """(rows, others) squared distances, float64, never negative."""
    a, b = x[rows].astype(np.float64), x[others].astype(np.float64)
    d = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.asarray(np.maximum(d, 0.0))


def kernel_width(x: NDArray[np.float32], tested: NDArray[np.int64]) -> float:
    """Gamma = 1 / median squared distance among the first 100 tested genes, diagonal kept."""
    first = tested[:WIDTH_GENES]
    middle = float(np.median(squared_distances(x, first, first)))
    return 1 / middle if middle > 0 else 1.0


def gp_mean(x: NDArray[np.float32], tested: NDArray[np.int64], y: Floats) -> Floats:
    """(genes,) posterior mean of a Gaussian process with a constant mean; K = exp(-gamma |x - x'|^2)."""
    gamma = kernel_width(x, tested)
    inner = np.exp(-gamma * squared_distances(x, tested, tested))
    weights = np.linalg.solve(inner + GP_NOISE * np.eye(len(tested)), y - y.mean())
    out = np.empty(len(x))
    for start in range(0, len(x), SLICE):
        rows = np.arange(start, min(start + SLICE, len(x)))
        out[rows] = np.exp(-gamma * squared_distances(x, rows, tested)) @ weights
    return np.asarray(out + y.mean())


def spread_over(propagator: sparse.csr_matrix, v: Floats) -> Floats:
    """Six steps of f <- v/2 + P f/2 from f = v (Zhou et al., NIPS 2003)."""
    f = v
    for _ in range(SPREAD_STEPS):
        f = RESTART * v + (1 - RESTART) * (propagator @ f)
    return np.asarray(f)


def set_weights(knowledge: Knowledge, tested: NDArray[np.int64], y: Floats) -> Floats:
    """(sets,) mean of y - b over tested members, shrunk by four members without news; squared, the sign kept."""
    v, mask = np.zeros(len(knowledge.genes)), np.zeros(len(knowledge.genes))
    v[tested], mask[tested] = y - max(y.mean(), LOWEST_RATE), 1.0
    means = (knowledge.transposed @ v) / (knowledge.transposed @ mask + SET_SHRINKAGE)
    return np.asarray(np.sign(means) * means**2)


def set_scores(knowledge: Knowledge, weights: Floats) -> Floats:
    """(genes,) weights of the gene's sets, summed, over sqrt(number of sets + 5)."""
    return np.asarray((knowledge.membership @ weights) / np.sqrt(knowledge.set_counts + SET_OFFSET))
