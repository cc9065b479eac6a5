"""What the closed-loop benchmarks share: shared screens with their features, runs, means with intervals.

Data: AGENTKIT_SCREEN_DATA, else gene_screens in AGENTKIT_SHARED_DATA (default ../shared/data). Features are kept in
the user's cache folder by content.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from agentkit import Unit, derive_seed
from agentkit_gene.loop.closed_loop import advance, start_loops
from agentkit_gene.loop.discovery import load_knowledge
from agentkit_gene.loop.feature_cache import default_cache
from agentkit_gene.loop.screen_files import read_shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.feedback import Feedback
    from agentkit_gene.loop.metrics import Judgement
    from agentkit_gene.loop.screen import Screen

SINGLE_SCREENS = (
    "IL2", "IFNG", "Steinhart_crispra_GD2_D22", "Scharenberg22", "Carnevale22_Adenosine", "Zhuang19_NK",
)  # fmt: skip
ROUNDS = 5


@cache
def screen_of(name: str) -> Screen:
    """A shared screen."""
    return read_shared(name)


@cache
def knowledge_of(name: str) -> Knowledge:
    """Its features, from the cache when they are there."""
    began = time.process_time()
    found = load_knowledge(screen_of(name).library, cache=default_cache())
    print(f"# {name}: features {found.x.shape} in {time.process_time() - began:.1f} CPU-s", flush=True)
    return found


def units(count: int) -> list[Unit]:
    """The same units in every benchmark."""
    return [Unit(index=i, seed=derive_seed("gene closed loop", i)) for i in range(count)]


@dataclass(frozen=True)
class Run:
    """Judgements of all units of one condition, and CPU seconds a unit."""

    judged: tuple[Judgement, ...]
    seconds: float

    @property
    def all(self) -> np.ndarray:
        """(units,) hit ratios."""
        return np.array([j.hit_ratio for j in self.judged])

    @property
    def outside(self) -> np.ndarray:
        """(units,) hit ratios without core-essential genes."""
        return np.array([j.hit_ratio_nonessential for j in self.judged])

    @property
    def hits(self) -> np.ndarray:
        """(units,) hits found."""
        return np.array([j.hits for j in self.judged], dtype=float)

    @property
    def curves(self) -> np.ndarray:
        """(units, rounds) cumulative hit ratios."""
        return np.array([j.curve for j in self.judged])


def run(
    screen: Screen,
    condition: str,
    count: int,
    knowledge: Knowledge,
    *,
    feedback: Feedback | None = None,
    batch: int | None = None,
) -> Run:
    """All units of one condition, advanced together; judged with the true flags."""
    loops = start_loops(
        screen, [condition], units(count), rounds=ROUNDS, batch=batch or screen.library.auto_batch(),
        feedback=feedback, knowledge=knowledge,
    )[condition]  # fmt: skip
    began = time.process_time()
    for _ in range(ROUNDS):
        advance(loops)
    seconds = (time.process_time() - began) / count
    return Run(tuple(loop.judged(screen) for loop in loops), seconds)


def half_width(values: Sequence[float] | np.ndarray) -> float:
    """Half of the 95 % t-interval of the mean; 0 for one value."""
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else 0.0


def cell(values: np.ndarray) -> str:
    """Mean, standard deviation and half-width of the interval."""
    sd = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{values.mean():.3f} sd {sd:.3f} +-{half_width(values):.3f}"
