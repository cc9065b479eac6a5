"""What tested genes say about the others: four scores from features, graph and sets.

trees    P(hit) of 120 extra-trees, at least 3 genes a leaf, 15 % of the columns a split, classes balanced
gp       b + K(g,o) (K(o,o) + 0.3 I)^-1 (y - b), K = exp(-|x-x'|^2 / median distance^2)
spread   f <- v/2 + P f/2, six times from f = v; v = y - b on tested genes; less v/2 on them
sets     w(s) = sum over tested members of (y - b) / (members + 4), squared with its sign; mean over a gene's sets
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit.errors import MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

    from agentkit_gene.loop.features import Knowledge

    Floats = NDArray[np.float64]

SLICE = 4096
"""Genes a kernel block: 4096 x 640 float64 is 21 MB."""
GP_NOISE = 0.3
GP_MOST = 2000
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
    leaf: int = 3,
    columns: float = 0.15,
) -> Floats:
    """(genes,) probability of a hit; labels must hold both kinds."""
    forest = sklearn_ensemble().ExtraTreesClassifier(
        trees,
        min_samples_leaf=leaf,
        max_features=columns,
        class_weight="balanced",
        random_state=int(rng.integers(2**31)),
        n_jobs=1,
    )
    forest.fit(x[rows], labels)
    return np.asarray(forest.predict_proba(x)[:, 1])


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


def gp_mean(x: NDArray[np.float32], tested: NDArray[np.int64], y: Floats, noise: float = GP_NOISE) -> Floats:
    """(genes,) posterior mean of a Gaussian process with a constant mean."""
    gamma = kernel_width(x, tested)
    inner = np.exp(-gamma * squared_distances(x, tested, tested))
    weights = np.linalg.solve(inner + noise * np.eye(len(tested)), y - y.mean())
    out = np.empty(len(x))
    for start in range(0, len(x), SLICE):
        rows = np.arange(start, min(start + SLICE, len(x)))
        out[rows] = np.exp(-gamma * squared_distances(x, rows, tested)) @ weights
    return np.asarray(out + y.mean())


def spread(propagator: sparse.csr_matrix, tested: NDArray[np.int64], y: Floats) -> Floats:
    """(genes,) labels spread over the graph, less what they put on themselves."""
    v = np.zeros(propagator.shape[0])
    v[tested] = y - y.mean()
    return np.asarray(spread_over(propagator, v) - RESTART * v)


def spread_over(propagator: sparse.csr_matrix, v: Floats) -> Floats:
    """Six steps of f <- v/2 + P f/2 from f = v (Zhou et al., NIPS 2003)."""
    f = v
    for _ in range(SPREAD_STEPS):
        f = RESTART * v + (1 - RESTART) * (propagator @ f)
    return np.asarray(f)


def base_rate(y: Floats) -> float:
    """What a set's members are compared with."""
    return max(float(y.mean()), 0.01)


def set_weights(knowledge: Knowledge, tested: NDArray[np.int64], y: Floats) -> Floats:
    """(sets,) signed square of the shrunk mean of y - b over tested members."""
    v, mask = np.zeros(len(knowledge.genes)), np.zeros(len(knowledge.genes))
    v[tested], mask[tested] = y - base_rate(y), 1.0
    w = (knowledge.transposed @ v) / (knowledge.transposed @ mask + SET_SHRINKAGE)
    return np.asarray(np.sign(w) * w**2)


def set_scores(knowledge: Knowledge, weights: Floats) -> Floats:
    """(genes,) weights of the gene's sets, summed, over sqrt(number of sets + 5)."""
    return np.asarray((knowledge.membership @ weights) / np.sqrt(knowledge.set_counts + SET_OFFSET))
