"""Which tested genes count as hits: the screen's own flag, or what a lab can tell from scores alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from agentkit.errors import ParamError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agentkit_gene.loop.screen import Direction

MAD_TO_SD = 1.4826
CONTROL_SDS = 3.0
FEWEST_CONTROLS = 5
"""Below this many negative controls their spread says too little, and the top share is used."""


@dataclass(frozen=True)
class Feedback:
    """The rule that turns tested scores into labels.

    Args:
        mode: `hit` (comparison with finished screens: their flag is assumed known) or `score` (what a lab has).
        share: in score mode, the top share of tested genes that counts as hits; recomputed each round.
        threshold: in score mode, a fixed limit on the strength instead of the share.
    """

    mode: Literal["hit", "score"] = "hit"
    share: float = 0.10
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("hit", "score"):
            raise ParamError(f"feedback={self.mode!r}: say hit or score")
        if not 0.01 <= self.share <= 0.5:
            raise ParamError(f"share={self.share:g}: between 0.01 and 0.5")

    def labels(
        self,
        scores: NDArray[np.float64],
        hits: NDArray[np.bool_] | None,
        direction: Direction,
        controls: tuple[float, ...] = (),
    ) -> NDArray[np.bool_]:
        """(tested,) labels. Raises ParamError for `hit` feedback without hit flags."""
        if self.mode == "hit":
            if hits is None:
                raise ParamError("feedback=hit needs a hit column in the results; use feedback=score")
            return hits
        if not len(scores):
            return np.zeros(0, dtype=bool)
        if self.threshold is None and len(controls) >= FEWEST_CONTROLS:
            return _beyond_controls(scores, direction, np.asarray(controls))
        strength = strength_of(scores, direction)
        if self.threshold is not None:
            return strength >= self.threshold
        return strongest(strength, self.share)


def strength_of(scores: NDArray[np.float64], direction: Direction) -> NDArray[np.float64]:
    """How strongly each score speaks for a hit: distance from the median, or the signed score."""
    if direction == "abs":
        return np.abs(scores - np.median(scores))
    return scores if direction == "high" else -scores


def strongest(strength: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """(tested,) the ceil(share * n) strongest; ties at the border all count, but never everything."""
    count = int(np.ceil(share * len(strength)))
    border = np.sort(strength)[-count]
    return np.asarray((strength >= border) & (strength > strength.min()))


def _beyond_controls(
    scores: NDArray[np.float64], direction: Direction, controls: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """More than three robust standard deviations from the negative controls' median."""
    middle = np.median(controls)
    limit = CONTROL_SDS * MAD_TO_SD * np.median(np.abs(controls - middle))
    away = scores - middle
    signed = {"abs": np.abs(away), "high": away, "low": -away}[direction]
    return np.asarray(signed > limit)
