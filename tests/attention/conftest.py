"""Shared by the attention tests: a context that holds targets, a small address book, the shipped MiniLM."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import agentkit
from agentkit.errors import TargetUnavailableError
from agentkit.seeds import unit_seed


@dataclass
class BenchContext:
    """A worker's context with ready targets; remembers artifacts."""

    targets: dict[str, Any]
    asked: frozenset[str] | None = None
    device: str = "cpu"
    workdir: Path = Path()
    cancelled: bool = False
    batch: int | None = None
    artifacts: dict[str, Any] = field(default_factory=dict)

    @property
    def conditions(self) -> frozenset[str] | None:
        return self.asked

    def target(self, uri: str) -> Any:
        return self.targets[uri]

    def progress(self, done: int, total: int) -> None:
        assert 0 < done <= total

    def artifact(self, name: str, value: Any) -> str:
        self.artifacts[name] = value
        return name

    def wants(self, condition: str) -> bool:
        return self.asked is None or condition == "baseline" or condition in self.asked


@dataclass(frozen=True)
class Linkage:
    queries: tuple[str, ...]
    candidates: tuple[str, ...]
    answers: tuple[int, ...]


class AddressBook:
    """Sixty made-up addresses with the surface of the target `addresses:`."""

    def __init__(self) -> None:
        streets = ("Oak Street", "Mill Road", "Harbor Way", "Elm Avenue", "Church Lane")
        towns = ("Salem OR", "Dover DE", "Boise ID", "Akron OH")
        self.texts = tuple(f"{17 * (i + 3) % 900} {s}, {t}" for s in streets for t in towns for i in range(3))

    def linkage_items(self, unit_rng, n, rate, kind="typos", key=0, candidates=None) -> Linkage:
        chosen = unit_rng.permutation(len(self.texts))[: candidates or len(self.texts)]
        answers = tuple(int(i) for i in unit_rng.permutation(len(chosen))[:n])
        pool = tuple(self.texts[i] for i in chosen)
        return Linkage(tuple(self._swapped(pool[a], rate, key) for a in answers), pool, answers)

    @staticmethod
    def _swapped(text: str, rate: float, key: int) -> str:
        return "".join("x" if (key * (i + 7)) % 101 < 101 * rate else c for i, c in enumerate(text))


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Small tensors on two busy cores lose more to waiting threads than they win."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def units():
    return [agentkit.Unit(index=i, seed=unit_seed("tests", "explore", "attention", i)) for i in range(3)]


@pytest.fixture(scope="session")
def minilm():
    from agentkit_attention.targets import minilm as loader

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # transformers' own, at import
            return loader.load("", "cpu")
    except TargetUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def ctx(minilm):
    return BenchContext({"minilm:": minilm, "addresses:": AddressBook()})


@pytest.fixture
def make_context(minilm):
    """A context that was asked for some conditions only."""

    def make(*conditions: str) -> BenchContext:
        return BenchContext({"minilm:": minilm, "addresses:": AddressBook()}, frozenset(conditions) or None)

    return make
