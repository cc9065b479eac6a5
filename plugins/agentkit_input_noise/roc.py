"""How well a score tells two groups apart: the ROC curve and the area under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATES = np.linspace(0, 1, 101)
"""False positive rates at which ROC curves are averaged over units."""


def auroc(negative: NDArray[np.float64], positive: NDArray[np.float64]) -> float:
    """Share of pairs in which the positive item scores higher, ties counting half (Mann and Whitney)."""
    ranks = rankdata(np.concatenate([positive, negative]))
    n, m = len(positive), len(negative)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def roc(negative: NDArray[np.float64], positive: NDArray[np.float64]) -> NDArray[np.float64]:
    """True positive rate at every false positive rate of `RATES`, straight between thresholds."""
    thresholds = np.unique(np.concatenate([negative, positive]))[::-1]
    false, true = (
        np.concatenate([[0.0], (scores[None] >= thresholds[:, None]).mean(axis=1)])
        for scores in (negative, positive)
    )
    keep = np.append(false[1:] != false[:-1], True)  # the upper end of every vertical step
    return np.concatenate([[0.0], np.interp(RATES[1:], false[keep], true[keep])])
