"""HeadHunter: find the few heads whose guidance raises an objective, with racing, a judge and every try kept.

Algorithm 1 of arXiv 2506.10978, driven by a lab: every rung is an exploration run of `attention.guide`, so
every candidate that was ever tried is in the ledger. The selection is a pure function of the stored
measurements. What it finds is a guess; confirm it with `attention.guide` on fresh units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit import BASELINE
from agentkit_attention.errors import BadSearchError, JudgeNotIndependentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agentkit import Measurements

TOOL = "attention.guide"
CONTROL_DRAWS = 10
"""Fewest units whose random sets make a control worth the name."""

Explore = Callable[[int, dict[str, Any]], "Measurements"]
"""Run `attention.guide` with these params for so many units, and record it."""


@dataclass(frozen=True)
class Candidate:
    """One head in one rung: the mean gain of the objective over the rung's baseline so far.

    Attributes:
        head: its name.
        gain: mean over all units it has been measured on, in the objective's units.
        units: how many those are.
    """

    head: str
    gain: float
    units: int


@dataclass(frozen=True)
class Rung:
    """One exploration run of a round: all candidates in it, best first, and which of them went on."""

    round: int
    candidates: tuple[Candidate, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True)
class Hunt:
    """What a hunt found and everything it tried.

    Attributes:
        heads: the chosen heads, in the order they were chosen.
        rungs: every rung of every round.
        generations: image sets drawn in the search, baselines included.
        tried: configurations tried, each head set once.
        grid: mean gain of judge and objective over the baseline by strength, with the random control.
        control_units: units whose random draw makes the control.
    """

    heads: tuple[str, ...]
    rungs: tuple[Rung, ...]
    generations: int
    tried: int
    grid: tuple[dict[str, float | str], ...] = ()
    control_units: int = 0

    @property
    def text(self) -> str:
        """A plain report: what was found, how much was tried, and what it is not."""
        lines = [
            f"heads: {', '.join(self.heads)}",
            f"configurations tried: {self.tried}, in {self.generations} generations (exploratory)",
            *(
                f"  {row['condition']}: judge {row['judge']:+.4f}, objective {row['objective']:+.4f}"
                for row in self.grid
            ),
        ]
        if self.grid and self.control_units < CONTROL_DRAWS:
            lines.append(f"control too small: {self.control_units} draws, {CONTROL_DRAWS} are needed")
        lines.append("This is a search result, not evidence: register a claim and confirm it on fresh units.")
        return "\n".join(lines)


@dataclass
class HeadHunter:
    """Searches k heads per round, for some rounds.

    Args:
        lab: runs and records the explorations.
        heads: names of all heads of the target, in canonical order.
        k: heads to take in each round.
        target, objective, judge: URIs; judge and objective must not be the same thing.
        rounds: rounds; each adds k heads to those found before.
        units: units M that a chosen head is measured on.
        u_search: strength in the search.
        u_post: strengths of the closing grid; none skips it.
        race: measure all heads on few units and only the better ones on all M.
        eta: how sharply the race narrows.
        campaign: the campaign that the explorations are recorded in; the lab's default one when None.
        options: further params of `attention.guide` (w, n, steps, technique, labels).

    Raises:
        BadSearchError: more heads are asked for than there are, or fewer than two units.
        JudgeNotIndependentError: the judge is the objective.
    """

    lab: Any
    heads: Sequence[str]
    k: int
    target: str = "digits-dit:"
    objective: str = "digits:cnn"
    judge: str = "digits-judge:"
    rounds: int = 1
    units: int = 20
    u_search: float = 1.0
    u_post: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    race: bool = True
    eta: int = 3
    campaign: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.k < 1 or self.rounds < 1 or self.rounds * self.k > len(self.heads):
            raise BadSearchError(
                f"rounds x k = {self.rounds} x {self.k}: the target has {len(self.heads)} heads"
            )
        if self.units < 2:
            raise BadSearchError(f"units {self.units}: a search needs at least 2")
        require_independent(self.lab, self.judge, self.objective)

    def run(self) -> Hunt:
        """Search all rounds, then measure the grid of strengths beside a random control."""
        found: list[str] = []
        rungs: list[Rung] = []
        generations = 0
        for number in range(1, self.rounds + 1):
            pool = [h for h in self.heads if h not in found]
            chosen, more, drawn = self._round(number, pool, tuple(found))
            found += chosen
            rungs += more
            generations += drawn
        grid, control = self._grid(tuple(found)) if self.u_post else ((), 0)
        tried = len({(r.round, c.head) for r in rungs for c in r.candidates})
        return Hunt(tuple(found), tuple(rungs), generations, tried, grid, control)

    def _round(
        self, number: int, pool: list[str], given: tuple[str, ...]
    ) -> tuple[list[str], list[Rung], int]:
        gains: dict[str, list[float]] = {h: [] for h in pool}
        alive, rungs, generations, done = list(pool), [], 0, 0
        for goal in rung_units(self.units, self.eta) if self.race else [self.units]:
            table = self._explore(goal - done, {"each": " ".join(alive), "given": given, "u": self.u_search})
            for head, gain in rung_gains(table, alive).items():
                gains[head] += gain
            generations += (goal - done) * (1 + len(alive))
            done = goal
            ranked = ranking({h: gains[h] for h in alive}, self.heads)
            keep = self.k if done == self.units else max(2 * self.k, math.ceil(len(alive) / self.eta))
            alive = [c.head for c in ranked[:keep]]
            rungs.append(Rung(number, tuple(ranked), tuple(alive)))
        return alive, rungs, generations

    def _grid(self, heads: tuple[str, ...]) -> tuple[tuple[dict[str, float | str], ...], int]:
        params = {"sets": {"hunted": heads}, "random_k": len(heads), "u": self.u_post}
        table = self._explore(self.units, params)
        rows: list[dict[str, float | str]] = [
            {"condition": c}
            | {
                m: float((table.column(m, c) - table.column(m, BASELINE)).mean())
                for m in ("judge", "objective")
            }
            for c in table.conditions[1:]
        ]
        return tuple(rows), len(table.units)

    def _explore(self, units: int, params: dict[str, Any]) -> Measurements:
        shared = {"target": self.target, "objective": self.objective, "judge": self.judge}
        table: Measurements = self.lab.explore(
            TOOL, units=units, campaign=self.campaign, **shared, **self.options, **params
        )
        return table


def heads_of(plugins: Any, target: str, device: str = "cpu") -> list[str]:
    """Names of all heads of a target, in canonical order; loads it."""
    from agentkit_attention.models import describe

    loader, rest = plugins.loader(target)
    return [h.name for h in describe(loader.load(rest, device)).table.heads]


def require_independent(lab: Any, judge: str, objective: str) -> None:
    """Refuse a judge that is, or loads, the same thing as the objective."""
    marks = lab.plugins.fingerprints({judge, objective})
    if judge == objective or marks[judge] == marks[objective]:
        raise JudgeNotIndependentError(
            f"judge {judge!r} is the objective {objective!r}: a search may not be judged by what it climbed"
        )


def rung_units(units: int, eta: int) -> list[int]:
    """Units a survivor has been measured on after each rung: about M/eta², M/eta, M."""
    goals = (math.ceil(units / eta**2), math.ceil(units / eta), units)
    return sorted({min(max(2, g), units) for g in goals})


def rung_gains(table: Measurements, heads: Sequence[str]) -> dict[str, list[float]]:
    """Objective minus the same run's baseline, per unit, for each head."""
    baseline: NDArray[np.float64] = table.column("objective", BASELINE)
    return {h: (table.column("objective", h) - baseline).tolist() for h in heads}


def ranking(gains: dict[str, list[float]], order: Sequence[str]) -> list[Candidate]:
    """Heads by mean gain, the best first; ties go to the earlier head."""
    place = {h: i for i, h in enumerate(order)}
    found = [Candidate(h, float(np.mean(g)), len(g)) for h, g in gains.items()]
    return sorted(found, key=lambda c: (-c.gain, place[c.head]))
