"""What stands behind `screen:` and `features:`, opened once a process and kept by content."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from agentkit import derive_seed
from agentkit.errors import ParamError, TargetError
from agentkit_gene.loop.discovery import find_sources
from agentkit_gene.loop.feature_cache import default_cache, load, store
from agentkit_gene.loop.features import build_knowledge, knowledge_hash
from agentkit_gene.loop.screen_files import read_answers, read_library, read_screen, read_shared
from agentkit_gene.loop.tables import read_table
from agentkit_gene.screens.simulated import SimulatedScreen, simulate_screen
from agentkit_gene.screens.target import FOUND, file_options, simulation_values, table_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit import Unit
    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.screen import Answers, Library, Screen
    from agentkit_gene.loop.sources import Source
    from agentkit_gene.screens.target import FeatureFiles, ScreenTarget

KEPT_ON_DISK = 2000
"""Features of libraries of at least this many genes are worth a file: they take half a minute to make."""


def screen(target: ScreenTarget, unit: Unit) -> Screen:
    """The finished screen as one unit sees it."""
    if target.simulated:
        return _simulated_for(target, unit).screen(f"screen:{target.rest}", unit.seed)
    return _read(target.rest, target.content)


def library(target: ScreenTarget) -> Library:
    """The genes that may be tested."""
    if target.simulated:
        if target.each_unit:
            raise ParamError(
                f"screen:{target.rest}: with seed=unit there is no single library; give a number, such as seed=7"
            )
        return _simulated_for(target, None).screen(f"screen:{target.rest}", 0).library
    return _library(target.rest, target.content)


def answers(target: ScreenTarget) -> Answers:
    """Results in a file."""
    path = None if target.simulated else table_path(target.rest)
    if path is None:
        raise ParamError(f"results are a table with the columns gene and score, not screen:{target.rest}")
    return read_answers(path, duplicates="mean" if file_options(target.rest) else "refuse")


def sources(files: FeatureFiles) -> list[Source]:
    """What the files hold."""
    return list(_sources(files.rest, files.content))


def knowledge(
    target: ScreenTarget,
    library: Library,
    unit: Unit | None,
    files: Sequence[FeatureFiles],
    *,
    allow_low: bool,
) -> Knowledge:
    """What is known about the library's genes: the simulated knowledge, or what the files hold."""
    if target.simulated and not files:
        truth = _simulated_for(target, unit)
        return _simulated_knowledge(truth, replace(library, task=""))
    key = tuple((f.rest, f.content) for f in files)
    return _knowledge(replace(library, task=""), key, allow_low)


def describe(target: ScreenTarget) -> str:
    """A few lines about the screen, without an answer of a single gene."""
    if target.each_unit:
        return f"screen:{target.rest}: every unit simulates a network of its own and screens it for its best-regulated gene"
    about = library(target)
    kind = "pairs of genes" if about.pairs else "genes"
    lines = [
        f"screen {about.name}: {len(about)} {kind}, hits are {about.direction}",
        f"task: {about.task or 'not given'}",
        f"measurement: {about.measurement or 'not given'}",
        f"study: {about.study or 'not given'}",
        "core-essential genes: "
        + ("not known" if about.essential is None else f"{len(about.essential)} listed"),
        *about.notes[:3],
    ]
    return "\n".join(lines)[:2000]


def _simulated_for(target: ScreenTarget, unit: Unit | None) -> SimulatedScreen:
    values = simulation_values(target.rest)
    if target.each_unit:
        if unit is None:
            raise ParamError(
                f"screen:{target.rest}: with seed=unit there is a network for every unit, not one"
            )
        values["seed"] = derive_seed(unit.seed, "network")
    return _simulate(values["genes"], values["seed"], values["noise"], values["prior"])


@lru_cache(maxsize=4)
def _simulate(genes: int, seed: int, noise: float, prior: float) -> SimulatedScreen:
    return simulate_screen(genes=genes, seed=seed, noise=noise, prior=prior)


@lru_cache(maxsize=4)
def _read(rest: str, content: str) -> Screen:
    path = table_path(rest)
    if path is None:
        return read_shared(rest)
    if "score" not in read_table(path):
        raise TargetError(
            f"{path}: no score column, so there is nothing to replay; gene.next needs only the genes"
        )
    return read_screen(path, duplicates="mean" if file_options(rest) else "refuse")


@lru_cache(maxsize=4)
def _library(rest: str, content: str) -> Library:
    path = table_path(rest)
    if path is None or "score" in read_table(path):
        return _read(rest, content).library
    return read_library(path)


@lru_cache(maxsize=4)
def _sources(rest: str, content: str) -> tuple[Source, ...]:
    return tuple(find_sources() if rest == FOUND else find_sources([rest]))


@lru_cache(maxsize=2)
def _simulated_knowledge(truth: SimulatedScreen, library: Library) -> Knowledge:
    return build_knowledge(library, truth.knowledge.sources(truth.genes))


@lru_cache(maxsize=2)
def _knowledge(library: Library, files: tuple[tuple[str, str], ...], allow_low: bool) -> Knowledge:
    found = [source for rest, content in files for source in _sources(rest, content)]
    if len(library.genes) < KEPT_ON_DISK or allow_low:
        return build_knowledge(library, found, allow_low_coverage=allow_low)
    key = knowledge_hash(library, found)
    if (kept := load(default_cache(), key)) is not None:
        return kept
    made = build_knowledge(library, found, allow_low_coverage=allow_low)
    store(default_cache(), made)
    return made
