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
from agentkit.canon import sha256_of
from agentkit_gene.loop.closed_loop import advance, start_loops
from agentkit_gene.loop.discovery import load_knowledge
from agentkit_gene.loop.feature_cache import default_cache
from agentkit_gene.loop.pickers import make_picker, split_name
from agentkit_gene.loop.screen_files import read_shared

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.feedback import Feedback
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
    """All units of one condition: (units, rounds) cumulative ratios, (units,) hits, CPU seconds a unit."""

    curves: np.ndarray
    curves_outside: np.ndarray
    hits: np.ndarray
    seconds: float

    @property
    def all(self) -> np.ndarray:
        """(units,) hit ratios at the last round."""
        return self.curves[:, -1]

    @property
    def outside(self) -> np.ndarray:
        """(units,) hit ratios without core-essential genes at the last round."""
        return self.curves_outside[:, -1]


def run(
    screen: Screen,
    condition: str,
    count: int,
    knowledge: Knowledge,
    *,
    feedback: Feedback | None = None,
    kept: Path | None = None,
) -> Run:
    """All units of one condition, advanced together; judged with the true flags.

    With a folder `kept`, a run that was made there with the same data, features and pickers is read instead, so that
    a stopped benchmark goes on.
    """
    if kept is None:
        return _run(screen, condition, count, knowledge, feedback)
    kept.mkdir(parents=True, exist_ok=True)
    name, _ = split_name(condition)
    key = [
        screen.library.name,
        condition,
        count,
        knowledge.sha256,
        make_picker(name, screen.library, knowledge).version,
    ]
    path = kept / f"{sha256_of([*key, *([feedback.mode, feedback.share] if feedback else [])])}.npz"
    if not path.exists():
        made = _run(screen, condition, count, knowledge, feedback)
        np.savez(path, curves=made.curves, outside=made.curves_outside, hits=made.hits, seconds=made.seconds)
    with np.load(path, allow_pickle=False) as found:
        return Run(found["curves"], found["outside"], found["hits"], float(found["seconds"]))


def _run(screen: Screen, condition: str, count: int, knowledge: Knowledge, feedback: Feedback | None) -> Run:
    loops = start_loops(
        screen, [condition], units(count), rounds=ROUNDS, batch=screen.library.auto_batch(), feedback=feedback,
        knowledge=knowledge,
    )[condition]  # fmt: skip
    began = time.process_time()
    for _ in range(ROUNDS):
        advance(loops)
    seconds = (time.process_time() - began) / count
    judged = [loop.judged(screen) for loop in loops]
    outside = [j.curve if j.curve_nonessential is None else j.curve_nonessential for j in judged]
    return Run(
        np.array([j.curve for j in judged]),
        np.array(outside),
        np.array([float(j.hits) for j in judged]),
        seconds,
    )


def half_width(values: Sequence[float] | np.ndarray) -> float:
    """Half of the 95 % t-interval of the mean; 0 for one value."""
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else 0.0


def cell(values: np.ndarray) -> str:
    """Mean, standard deviation and half-width of the interval."""
    sd = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{values.mean():.3f} sd {sd:.3f} +-{half_width(values):.3f}"
