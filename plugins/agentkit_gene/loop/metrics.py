"""How good a finished loop was: cumulative hit ratios by round, with and without core-essential genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Judgement:
    """One loop, judged with the screen's true hit flags.

    Args:
        curve: (rounds,) share of all hits found so far.
        curve_nonessential: the same with core-essential genes out of both sets; None without a list.
        hits: hits found at the end.
    """

    curve: NDArray[np.float64]
    curve_nonessential: NDArray[np.float64] | None
    hits: int

    @property
    def hit_ratio(self) -> float:
        """Share of all hits found at the last round."""
        return float(self.curve[-1])

    @property
    def hit_ratio_nonessential(self) -> float | None:
        """Share of the non-essential hits found at the last round."""
        return None if self.curve_nonessential is None else float(self.curve_nonessential[-1])

    @property
    def auc(self) -> float:
        """Mean of the cumulative curve over the rounds."""
        return float(self.curve.mean())


def judge(
    rounds: Sequence[NDArray[np.int64]], hits: NDArray[np.bool_], essential: NDArray[np.bool_] | None
) -> Judgement:
    """The judgement on rows picked round by round; a ratio without any hit to find is 0."""
    curve = _curve(rounds, hits)
    outside = None if essential is None else _curve(rounds, hits & ~essential)
    return Judgement(curve, outside, int(sum(hits[r].sum() for r in rounds)))


def _curve(rounds: Sequence[NDArray[np.int64]], hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    found = np.cumsum([hits[r].sum() for r in rounds], dtype=np.float64)
    return found / max(int(hits.sum()), 1)
