"""Pickers that learn a model: `gp_thompson`, `top_uncertain`, `soft_uncertain`. Round 1 is random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from agentkit_gene.loop.learners import (
    GP_NOISE,
    SLICE,
    kernel_width,
    sklearn_ensemble,
    squared_distances,
)
from agentkit_gene.loop.pickers import Ranking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.screen import View

    Floats = NDArray[np.float64]

DRAW_WIDTH = 0.5
SMALLEST_VARIANCE = 1e-6
SMALLEST_SPREAD = 0.1
TEMPERATURE = 0.9
"""Of the softmax over uncertainties (the value of GeneDisco's benchmark)."""
FOREST = 60


class ThompsonPicker:
    """Posterior mean of a Gaussian process on the labels plus half a standard deviation of noise per gene.

    The draws are marginal, one a gene, not a joint sample.
    """

    name = "gp_thompson"
    version = "1"

    def __init__(self, knowledge: Knowledge) -> None:
        self.x = knowledge.x

    def propose(self, views: Sequence[View]) -> list[Ranking]:
        """Random in round 1; later mean + 0.5 sd N(0, 1)."""
        return [self._one(view) for view in views]

    def _one(self, view: View) -> Ranking:
        if not len(view.tested):
            return Ranking(view.uniforms("random"))
        y = view.labels.astype(np.float64)
        mean, sd = gp_posterior(self.x, view.tested, y)
        drawn = view.normals("thompson") * sd
        return Ranking.of([("mean", 1.0, mean), ("draw", DRAW_WIDTH, drawn)])


def gp_posterior(x: NDArray[np.float32], tested: NDArray[np.int64], y: Floats) -> tuple[Floats, Floats]:
    """(genes,) mean and standard deviation; the prior variance is that of the labels, at least 0.01."""
    gamma = kernel_width(x, tested)
    inner = np.exp(-gamma * squared_distances(x, tested, tested)) + GP_NOISE * np.eye(len(tested))
    factor = cho_factor(inner, lower=True)
    weights = cho_solve(factor, y - y.mean())
    mean, variance = np.empty(len(x)), np.empty(len(x))
    for start in range(0, len(x), SLICE):
        rows = np.arange(start, min(start + SLICE, len(x)))
        k = np.exp(-gamma * squared_distances(x, rows, tested))
        mean[rows] = k @ weights + y.mean()
        variance[rows] = 1 - (solve_triangular(factor[0], k.T, lower=True) ** 2).sum(axis=0)
    spread = max(float(y.std()), SMALLEST_SPREAD)
    return mean, np.sqrt(np.maximum(variance, SMALLEST_VARIANCE)) * spread


class UncertainPicker:
    """The genes on whose score the trees of a forest disagree most; `soft` samples them instead."""

    version = "1"

    def __init__(self, knowledge: Knowledge, *, soft: bool) -> None:
        self.x, self.soft = knowledge.x, soft
        self.name = "soft_uncertain" if soft else "top_uncertain"

    def propose(self, views: Sequence[View]) -> list[Ranking]:
        """Random in round 1; later the standard deviation over 60 extra-trees fitted on the scores."""
        return [self._one(view) for view in views]

    def _one(self, view: View) -> Ranking:
        if not len(view.tested):
            return Ranking(view.uniforms("random"))
        sd = tree_spread(self.x, view.tested, view.scores, view.rng("trees"))
        if not self.soft:
            return Ranking.of([("spread", 1.0, sd)])
        gumbel = -np.log(-np.log(view.uniforms("gumbel")))
        return Ranking.of([("spread", 1 / TEMPERATURE, sd), ("gumbel", 1.0, gumbel)])


def tree_spread(
    x: NDArray[np.float32], tested: NDArray[np.int64], scores: Floats, rng: np.random.Generator
) -> Floats:
    """(genes,) standard deviation of the predictions of 60 extra-trees regressors."""
    forest = sklearn_ensemble().ExtraTreesRegressor(
        FOREST,
        min_samples_leaf=3,
        max_features=0.15,
        random_state=int(rng.integers(2**31)),
        n_jobs=1,
    )
    forest.fit(x[tested], scores)
    total, squares = np.zeros(len(x)), np.zeros(len(x))
    for tree in forest.estimators_:
        guess = tree.tree_.predict(x).ravel()
        total, squares = total + guess, squares + guess**2
    return np.sqrt(np.maximum(squares / FOREST - (total / FOREST) ** 2, 0.0))
