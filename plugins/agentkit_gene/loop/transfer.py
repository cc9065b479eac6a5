"""`xprior+ens`: a prior fitted on hits of other studies. Screens of the target's own study never enter.

xp = rank(rank(logistic, C = 0.3) + rank(150 extra-trees, at least 5 genes a leaf, 10 % of the columns))
each study's hits weigh 1 / n_hits; five of its non-hits per hit, drawn at random, weigh 1 / n_non.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agentkit import derive_seed
from agentkit.errors import MissingExtraError, ParamError
from agentkit_gene.loop.learners import sklearn_ensemble
from agentkit_gene.loop.ranks import rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.screen import Library, Screen

    Floats = NDArray[np.float64]

NON_HITS_PER_HIT = 5
PENALTY = 0.3


def other_studies(library: Library, pool: Sequence[Screen]) -> list[Screen]:
    """Screens that may inform this library: finished, of single genes, with a study that is not the library's.

    Raises:
        ParamError: when the library has no study, or no other study is left.
    """
    if library.study is None:
        raise ParamError(
            f"transfer=True: screen {library.name} names no study, so its own could not be left out; add study"
        )
    usable = [
        s
        for s in pool
        if s.library.study is not None
        and s.library.study.strip().lower() != library.study.strip().lower()
        and not s.library.pairs
        and s.has_hits
    ]
    if not usable:
        known = ", ".join(f"{s.library.name} ({s.library.study})" for s in pool) or "none"
        raise ParamError(
            f"transfer=True: no screen of another study than {library.study} is known (known: {known})"
        )
    return sorted(usable, key=lambda s: (str(s.library.study), s.library.name, s.library.sha256))


def transfer_prior(library: Library, knowledge: Knowledge, pool: Sequence[Screen]) -> Floats:
    """(genes,) rank of how much a gene looks like the hits of other studies, seen from this library's features."""
    rows, labels, weights = [], [], []
    position = {g.upper(): i for i, g in enumerate(knowledge.genes)}
    for screen in other_studies(library, pool):
        here = np.array([position.get(s.upper(), -1) for s in screen.library.symbols])
        hits = screen.true_hits()
        found, missed = here[hits & (here >= 0)], here[~hits & (here >= 0)]
        if not len(found) or not len(missed):
            continue
        rng = np.random.default_rng(derive_seed("transfer", screen.library.sha256))
        drawn = rng.choice(missed, min(len(missed), NON_HITS_PER_HIT * len(found)), replace=False)
        rows += [found, drawn]
        labels += [np.ones(len(found)), np.zeros(len(drawn))]
        weights += [np.full(len(found), 1 / len(found)), np.full(len(drawn), 1 / len(drawn))]
    if not rows:
        raise ParamError("transfer=True: the other studies share no gene with this library")
    where, y, w = np.concatenate(rows), np.concatenate(labels), np.concatenate(weights)
    return rank(rank(_logistic(knowledge.x, where, y, w)) + rank(_forest(knowledge.x, where, y, w)))


def _logistic(x: NDArray[np.float32], rows: NDArray[np.int64], y: Floats, weights: Floats) -> Floats:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtraError(
            'xprior+ens needs scikit-learn: pip install "agentkit-perturb[gene]"'
        ) from None
    model = LogisticRegression(C=PENALTY, max_iter=500)
    model.fit(x[rows], y, sample_weight=weights * len(y) / weights.sum())
    return np.asarray(model.decision_function(x), dtype=np.float64)


def _forest(x: NDArray[np.float32], rows: NDArray[np.int64], y: Floats, weights: Floats) -> Floats:
    forest = sklearn_ensemble().ExtraTreesClassifier(
        150, min_samples_leaf=5, max_features=0.1, random_state=0, n_jobs=1
    )
    forest.fit(x[rows], y, sample_weight=weights * len(y) / weights.sum())
    return np.asarray(forest.predict_proba(x)[:, 1])
