"""What a loop works on: a library (public), a screen (a library with its answers), a view (what a picker sees)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from agentkit.errors import near_names
from agentkit_gene.loop.errors import BadScreenError, LoopStateError
from agentkit_gene.loop.ranks import keyed_normals, keyed_uniforms

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from agentkit import Unit
    from agentkit_gene.loop.proposals import Proposal

Direction = Literal["abs", "high", "low"]
PAIR_SIGN = "+"
SMALL_LIBRARY = 2000
"""Below this many genes a batch is 32, from it on 128 (the plates of published arrayed and pooled follow-ups)."""


@dataclass(frozen=True)
class Library:
    """The genes (or gene pairs) that may be tested, and what is known before the first batch.

    Args:
        name: what reports call it.
        symbols: sorted, distinct; a pair is `A+B` with A < B.
        task: the goal in plain language.
        direction: which scores are hits: far from the middle, high, or low.
        measurement: what the score is, in plain language.
        study: where the screen comes from; screens of one study never inform each other.
        essential: core-essential genes, or None when no list is known.
        control_scores: scores of negative controls, which every batch carries along.
    """

    name: str
    symbols: tuple[str, ...]
    task: str = ""
    direction: Direction = "abs"
    measurement: str = ""
    study: str | None = None
    essential: frozenset[str] | None = None
    control_scores: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    pairs: bool = False

    def __post_init__(self) -> None:
        if not self.symbols:
            raise BadScreenError(f"screen {self.name}: no gene in the library")
        if any(a >= b for a, b in zip(self.symbols, self.symbols[1:], strict=False)):
            raise BadScreenError(f"screen {self.name}: symbols must be sorted and distinct")

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def position(self) -> dict[str, int]:
        """Row of each symbol."""
        return {s: i for i, s in enumerate(self.symbols)}

    @cached_property
    def by_upper(self) -> dict[str, str]:
        """The library's spelling of an upper-cased symbol."""
        return {s.upper(): s for s in self.symbols}

    @cached_property
    def genes(self) -> tuple[str, ...]:
        """The single genes: the symbols themselves, or the members of the pairs, sorted."""
        if not self.pairs:
            return self.symbols
        return tuple(sorted({g for s in self.symbols for g in s.split(PAIR_SIGN)}))

    @cached_property
    def members(self) -> NDArray[np.int64]:
        """(pairs, 2) rows in `genes` of each pair's two members."""
        row = {g: i for i, g in enumerate(self.genes)}
        return np.array([[row[g] for g in s.split(PAIR_SIGN)] for s in self.symbols], dtype=np.int64)

    @cached_property
    def essential_mask(self) -> NDArray[np.bool_] | None:
        """Which symbols are core essential (for pairs: a member is), or None when no list is known."""
        known = self.essential
        if known is None:
            return None
        return np.array([any(g in known for g in s.split(PAIR_SIGN)) for s in self.symbols])

    @cached_property
    def sha256(self) -> str:
        """Hash of the symbols: what features and states are kept under."""
        return hashlib.sha256("\n".join(self.symbols).encode()).hexdigest()

    def rows(self, symbols: Iterable[str]) -> NDArray[np.int64]:
        """Rows of symbols spelled as in the library."""
        try:
            return np.array([self.position[s] for s in symbols], dtype=np.int64)
        except KeyError as error:
            name = str(error.args[0])
            raise LoopStateError(
                f"{name!r} is not in library {self.name}. {near_names(name, self.symbols)}"
            ) from None

    def auto_batch(self) -> int:
        """The batch size when none is given: 32 for small libraries, else 128."""
        return 32 if len(self) < SMALL_LIBRARY else 128


@dataclass(frozen=True)
class Answers:
    """Results of tested genes: (genes,) scores and, where a lab has called them, hits."""

    genes: tuple[str, ...]
    scores: NDArray[np.float64]
    hits: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if len(self.genes) != len(self.scores) or (
            self.hits is not None and len(self.hits) != len(self.genes)
        ):
            raise LoopStateError("answers: genes, scores and hits differ in length")
        bad = np.flatnonzero(~np.isfinite(self.scores))
        if len(bad):
            raise BadScreenError(f"answers: the score of {self.genes[bad[0]]!r} is {self.scores[bad[0]]}")

    def __len__(self) -> int:
        return len(self.genes)


@dataclass(frozen=True)
class Screen:
    """A finished screen: the library and, kept from every picker, the answers."""

    library: Library
    _scores: NDArray[np.float64] = field(repr=False)
    _hits: NDArray[np.bool_] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self._scores) != len(self.library):
            raise BadScreenError(
                f"screen {self.library.name}: {len(self._scores)} scores, {len(self.library)} genes"
            )
        for answers in (self._scores, self._hits):
            if answers is not None:
                answers.setflags(write=False)

    @property
    def has_hits(self) -> bool:
        """Whether the screen's own hit flags are known and at least one is set."""
        return self._hits is not None and bool(self._hits.any())

    def answer(self, genes: Sequence[str]) -> Answers:
        """Scores (and hit flags) of these genes only, as a lab would return them."""
        rows = self.library.rows(genes)
        return Answers(tuple(genes), self._scores[rows], None if self._hits is None else self._hits[rows])

    def permuted(self, unit: Unit) -> Screen:
        """The same (score, hit) rows given to other genes: what a picker can do when feedback says nothing.

        One permutation per unit, keyed by gene.
        """
        order = np.argsort(keyed_uniforms(self.library.symbols, unit.seed, "permuted"), kind="stable")
        hits = None if self._hits is None else self._hits[order]
        return Screen(self.library, self._scores[order], hits)

    def true_hits(self) -> NDArray[np.bool_]:
        """The hit flags of the whole library; for judging a finished loop, never handed to a picker."""
        if self._hits is None or not self._hits.any():
            raise BadScreenError(
                f"screen {self.library.name}: no hit is marked, so a hit ratio is undefined; "
                "use feedback=score and judge by the scores"
            )
        return self._hits


@dataclass(frozen=True)
class View:
    """All that a picker may know: the library, the tested genes with their answers, its own randomness.

    Args:
        tested: rows of tested genes, in the order they were told.
        scores: their scores.
        labels: whether each counts as a hit under the feedback rule.
        round: 1 for the first batch.
        batch: how many genes will be picked.
        unit: the source of all randomness.
        proposal: what a chat model or a person proposed for this round.
    """

    library: Library
    tested: NDArray[np.int64]
    scores: NDArray[np.float64]
    labels: NDArray[np.bool_]
    round: int
    batch: int
    unit: Unit
    proposal: Proposal | None = None

    @cached_property
    def untested(self) -> NDArray[np.bool_]:
        """(library,) mask of genes that may still be picked."""
        mask = np.ones(len(self.library), dtype=bool)
        mask[self.tested] = False
        return mask

    def normals(self, purpose: str) -> NDArray[np.float64]:
        """(library,) standard normals keyed by unit, purpose, round and gene."""
        return keyed_normals(self.library.symbols, self.unit.seed, purpose, self.round)

    def uniforms(self, purpose: str) -> NDArray[np.float64]:
        """(library,) uniforms keyed by unit, purpose, round and gene."""
        return keyed_uniforms(self.library.symbols, self.unit.seed, purpose, self.round)

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator keyed by unit, purpose and round (tree seeds, starts of k-means)."""
        return self.unit.rng(f"{purpose}/{self.round}")
