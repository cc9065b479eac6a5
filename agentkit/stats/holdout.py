"""Asking a finite holdout set many questions: answers guide exploration and never enter a verdict.

Each mechanism is a frozen state with `ask(...) -> (answer, next state)`, so that a store can keep both and replay
them. They protect an estimate from overfitting, not a list of discoveries from false ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from agentkit.stats.problems import refused


@dataclass(frozen=True)
class Answer:
    """What the planner is told, and what it cost of the budget."""

    value: float
    from_holdout: bool
    """False: the value is the planner's own (its guess, the training mean, the old best) and reveals one bit."""
    cost: int


@dataclass(frozen=True)
class SparseValidate:
    """Confirms a guess for free and pays for a correction (Dwork et al. 2015). Deterministic, so it replays."""

    threshold: float = 0.05
    tick: float = 0.01
    """Corrections are rounded to multiples of it."""
    budget: int = 10
    spent: int = 0

    def __post_init__(self) -> None:
        _check_positive("threshold", self.threshold)
        _check_positive("tick", self.tick)
        _check_budget(self.budget, self.spent)

    def ask(self, holdout_mean: float, guess: float) -> tuple[Answer, SparseValidate]:
        """Is the mean of a query in [0, 1] over the holdout within `threshold` of `guess`? If not, what is it?"""
        _check_left(self.budget, self.spent)
        _check_share("holdout_mean", holdout_mean)
        if not math.isfinite(guess):
            raise refused("guess", guess, "a finite number")
        if abs(holdout_mean - guess) <= self.threshold:
            return Answer(guess, from_holdout=False, cost=0), self
        rounded = round(holdout_mean / self.tick) * self.tick
        return Answer(rounded, from_holdout=True, cost=1), replace(self, spent=self.spent + 1)

    def sample_error(self, n_items: int, queries: int, beta: float = 0.05) -> float:
        """t: with probability 1 - beta no mean asked for by any planner is off its population value by more.

        Hoeffding over all transcripts of `queries` questions with at most `budget` corrections. An answer is then off
        by at most t + threshold (a confirmed guess) or t + tick / 2 (a correction).
        """
        if n_items < 1 or queries < 1 or not 0 < beta < 1:
            raise refused("n_items, queries, beta", (n_items, queries, beta), "numbers >= 1, beta in (0, 1)")
        return math.sqrt((math.log(2 * queries / beta) + self.log_transcripts(queries)) / (2 * n_items))

    def log_transcripts(self, queries: int) -> float:
        """Log of the number of answer sequences: sum over i <= budget of C(queries, i) * (values of a correction)^i."""
        values = math.floor(1 / self.tick + 0.5) + 1
        most = min(self.budget, queries)
        terms = [
            math.lgamma(queries + 1)
            - math.lgamma(i + 1)
            - math.lgamma(queries - i + 1)
            + i * math.log(values)
            for i in range(most + 1)
        ]
        return float(np.logaddexp.reduce(terms))


@dataclass(frozen=True)
class Thresholdout:
    """Answers with the training mean while it agrees with the holdout, else with a noisy holdout mean.

    Dwork et al. (2015): threshold T + Lap(2s), per question Lap(4s), answers Lap(s). The noise of question i comes
    from `seed` and i alone, so a stored state replays; whoever knows the seed can take the noise away.
    """

    seed: int
    threshold: float = 0.04
    noise: float = 0.01
    budget: int = 10
    spent: int = 0
    asked: int = 0

    def __post_init__(self) -> None:
        _check_positive("threshold", self.threshold)
        _check_positive("noise", self.noise)
        _check_budget(self.budget, self.spent)

    def ask(self, holdout_mean: float, training_mean: float) -> tuple[Answer, Thresholdout]:
        """The mean of a query in [0, 1]: as in training, or as in the holdout where the two differ too much."""
        _check_left(self.budget, self.spent)
        _check_share("holdout_mean", holdout_mean)
        _check_share("training_mean", training_mean)
        blur, noise = self._draw("question", self.asked, [4 * self.noise, self.noise])
        after = replace(self, asked=self.asked + 1)
        if abs(holdout_mean - training_mean) <= self._noisy_threshold() + blur:
            return Answer(training_mean, from_holdout=False, cost=0), after
        return Answer(holdout_mean + noise, from_holdout=True, cost=1), replace(after, spent=self.spent + 1)

    def _noisy_threshold(self) -> float:
        """T + Lap(2s), drawn anew after each paid answer."""
        return self.threshold + self._draw("threshold", self.spent, [2 * self.noise])[0]

    def _draw(self, what: str, index: int, scales: list[float]) -> list[float]:
        rng = np.random.default_rng([self.seed, {"question": 0, "threshold": 1}[what], index])
        return [float(rng.laplace(0.0, scale)) for scale in scales]


@dataclass(frozen=True)
class Ladder:
    """A leaderboard that shows a new best score only when it beats the old one by a step (Blum & Hardt 2015)."""

    step: float
    best: float | None = None

    def __post_init__(self) -> None:
        _check_positive("step", self.step)

    def ask(self, holdout_score: float) -> tuple[Answer, Ladder]:
        """The best score so far, higher being better, rounded to the step."""
        if not math.isfinite(holdout_score):
            raise refused("holdout_score", holdout_score, "a finite number")
        if self.best is not None and holdout_score < self.best + self.step:
            return Answer(self.best, from_holdout=False, cost=0), self
        shown = round(holdout_score / self.step) * self.step
        return Answer(shown, from_holdout=True, cost=0), replace(self, best=shown)


def _check_left(budget: int, spent: int) -> None:
    if spent >= budget:
        raise refused("spent", spent, f"fewer than the budget: holdout budget {budget} spent")


def _check_positive(field: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise refused(field, value, "a finite number > 0")


def _check_budget(budget: int, spent: int) -> None:
    if budget < 1 or spent < 0:
        raise refused("budget, spent", (budget, spent), "budget >= 1, spent >= 0")


def _check_share(field: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise refused(field, value, "a number in [0, 1]")
