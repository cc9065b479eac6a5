"""What tested genes say about the others: five scores from features, graph and sets.

y is 1 for a hit and 0 else, b its mean over the tested genes.
    trees    P(hit) of 120 extra-trees, at least 3 genes a leaf, 15 % of the columns a split
    linear   balanced logistic regression
    gp       b + K(g,o) (K(o,o) + 0.3 I)^-1 (y - b), K a Gaussian of the features' distance
    spread   f <- v/2 + P f/2, six times from f = v; v = y - b/2 on tested genes; less v/2 on them
    sets     w(s) = sum over tested members of (y - b) / (members + 4); summed over a gene's sets
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit.errors import MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.screen import Direction, View

    Floats = NDArray[np.float64]

SLICE = 4096
"""Genes a kernel block: 4096 x 640 float64 is 21 MB."""
BACKGROUND = 1000
BACKGROUND_WEIGHT = 0.2
"""Hits are few, so an untested gene is most likely none; but nobody looked, so it counts a fifth."""
LINEAR_PENALTY = 0.1
CACHED_GENES = 512
GP_NOISE = 0.3
GP_MOST = 2000
"""Above this many tested genes the process takes all hits and a random sample of the rest."""
GP_NARROW = 2.0
"""The ensemble's process is local (its kernel half as wide in squared distance): the linear part is global already."""
WIDTH_GENES = 100
SPREAD_STEPS = 6
RESTART = 0.5
SET_SHRINKAGE = 4.0
SET_OFFSET = 5.0


def extra_trees(
    x: NDArray[np.float32],
    rows: NDArray[np.int64],
    labels: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    trees: int = 120,
    columns: float = 0.15,
    background: NDArray[np.int64] | None = None,
) -> Floats:
    """(genes,) probability of a hit, hits and the rest counting the same in sum; labels must hold both kinds.

    `background` genes are untested and count `BACKGROUND_WEIGHT` of a tested gene without a hit each.
    """
    extra = np.zeros(0, dtype=np.int64) if background is None else background
    y = np.concatenate([labels, np.zeros(len(extra), dtype=bool)])
    weights = np.concatenate([np.ones(len(rows)), np.full(len(extra), BACKGROUND_WEIGHT)])
    weights[y] = weights[~y].sum() / y.sum()
    forest = sklearn_ensemble().ExtraTreesClassifier(
        trees, min_samples_leaf=3, max_features=columns, random_state=int(rng.integers(2**31)), n_jobs=1
    )
    forest.fit(x[np.concatenate([rows, extra])], y, sample_weight=weights)
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


def linear(x: NDArray[np.float32], rows: NDArray[np.int64], labels: NDArray[np.bool_]) -> Floats:
    """(genes,) log odds of a balanced logistic regression; labels must hold both kinds."""
    model = sklearn_linear().LogisticRegression(C=LINEAR_PENALTY, class_weight="balanced", max_iter=1000)
    model.fit(x[rows], labels)
    return np.asarray(model.decision_function(x), dtype=np.float64)


def background(view: View) -> NDArray[np.int64]:
    """Untested rows drawn for the forest: at most `BACKGROUND`, and at most half of what is left."""
    free = np.flatnonzero(view.untested)
    order = np.argsort(view.uniforms("background")[free], kind="stable")
    return np.asarray(np.sort(free[order[: min(BACKGROUND, len(free) // 2)]]))


def at_most(view: View, count: int) -> NDArray[np.int64]:
    """Positions among the tested genes: all of them, or all hits and a random sample of the rest."""
    everyone = np.arange(len(view.tested))
    if len(everyone) <= count:
        return everyone
    first = np.where(view.labels, -1.0, view.uniforms("sample")[view.tested])
    return np.sort(np.argsort(first, kind="stable")[:count])


def sklearn_linear() -> Any:
    """`sklearn.linear_model`, or the pip line."""
    sklearn_ensemble()
    from sklearn import linear_model

    return linear_model


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


def gp_mean(
    x: NDArray[np.float32], tested: NDArray[np.int64], y: Floats, gamma: float | None = None
) -> Floats:
    """Posterior mean of a Gaussian process with a constant mean.

    Args:
        x: features.
        tested: rows with labels.
        y: (tested,) or (tested, columns): each column is a process of its own.
        gamma: of K = exp(-gamma |x - x'|^2); `kernel_width` unless said.

    Returns:
        (genes,) or (genes, columns).
    """
    gamma = kernel_width(x, tested) if gamma is None else gamma
    inner = np.exp(-gamma * squared_distances(x, tested, tested))
    weights = np.linalg.solve(inner + GP_NOISE * np.eye(len(tested)), y - y.mean(axis=0))
    out = np.empty((len(x), *y.shape[1:]))
    for start in range(0, len(x), SLICE):
        rows = np.arange(start, min(start + SLICE, len(x)))
        out[rows] = np.exp(-gamma * squared_distances(x, rows, tested)) @ weights
    return np.asarray(out + y.mean(axis=0))


def by_sign(y: Floats, scores: Floats, direction: Direction) -> Floats:
    """(tested, 1 or 2) labels, those of high and of low scores apart where both count as hits.

    Genes that push a reporter up and genes that push it down sit in different pathways: one process for both would
    blur them.
    """
    if direction != "abs":
        return y[:, None]
    above = scores > np.median(scores)
    return np.stack([y * above, y * ~above], axis=1)


def spread(propagator: sparse.csr_matrix, tested: NDArray[np.int64], y: Floats) -> Floats:
    """(genes,) labels spread over the graph, less what they put on themselves.

    A gene without a hit counts half: a screen misses true hits (weak guides), so a miss says less than a hit.
    """
    v = np.zeros(propagator.shape[0])
    v[tested] = y - y.mean() / 2
    return np.asarray(spread_over(propagator, v) - RESTART * v)


def spread_over(propagator: sparse.csr_matrix, v: Floats) -> Floats:
    """Six steps of f <- v/2 + P f/2 from f = v (Zhou et al., NIPS 2003)."""
    f = v
    for _ in range(SPREAD_STEPS):
        f = RESTART * v + (1 - RESTART) * (propagator @ f)
    return np.asarray(f)


def set_weights(knowledge: Knowledge, tested: NDArray[np.int64], y: Floats) -> Floats:
    """(sets,) mean of y - b over tested members, shrunk by four members without news."""
    v, mask = np.zeros(len(knowledge.genes)), np.zeros(len(knowledge.genes))
    v[tested], mask[tested] = y - y.mean(), 1.0
    return np.asarray((knowledge.transposed @ v) / (knowledge.transposed @ mask + SET_SHRINKAGE))


def set_scores(knowledge: Knowledge, weights: Floats) -> Floats:
    """(genes,) weights of the gene's sets, summed, over sqrt(number of sets + 5)."""
    return np.asarray((knowledge.membership @ weights) / np.sqrt(knowledge.set_counts + SET_OFFSET))
