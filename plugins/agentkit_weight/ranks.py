"""How well one ranking agrees with another."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's correlation of two equally long rows, in [-1, 1]; 0 where one of them ranks nothing (all equal)."""
    from scipy.stats import spearmanr

    if len(set(a)) < 2 or len(set(b)) < 2:
        return 0.0
    return min(1.0, max(-1.0, float(spearmanr(a, b).statistic)))
