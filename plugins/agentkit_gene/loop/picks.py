"""From any list of names to exactly B valid picks: resolve, drop with a reason, fill from the picker's ranking."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agentkit_gene.loop.screen import PAIR_SIGN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from agentkit_gene.loop.screen import Library, View


@dataclass(frozen=True)
class Dropped:
    """A name that was asked for and not taken: why, and what may have been meant."""

    name: str
    reason: str
    near: tuple[str, ...] = ()

    def __str__(self) -> str:
        near = f"; near: {', '.join(self.near)}" if self.near else ""
        return f"{self.name}: {self.reason}{near}"


class Resolver:
    """Finds the library's symbol for a name as people write it.

    Order: the library's own spelling, upper-cased; then a previous symbol or alias that leads to exactly one gene of
    the library.

    Args:
        library: the genes that may be named.
        other_names: upper-cased previous symbols and aliases, each with the approved symbols it may mean.
    """

    def __init__(self, library: Library, other_names: Mapping[str, Iterable[str]] | None = None) -> None:
        self.library = library
        self._singles = {g.upper(): g for g in library.genes}
        self._other = other_names or {}

    def __call__(self, name: str) -> str | None:
        """The symbol (for a pair, the sorted `A+B`), or None when it is unknown or ambiguous."""
        parts = (
            [self._single(part) for part in name.split(PAIR_SIGN)]
            if self.library.pairs
            else [self._single(name)]
        )
        if any(p is None for p in parts):
            return None
        found = PAIR_SIGN.join(sorted(str(p) for p in parts))
        return found if found in self.library.position else None

    def _single(self, name: str) -> str | None:
        name = name.strip().upper()
        if name in self._singles:
            return self._singles[name]
        meant = self.meanings(name)
        return meant[0] if len(meant) == 1 else None

    def meanings(self, name: str) -> list[str]:
        """Genes of the library that a previous symbol or alias may stand for, sorted."""
        others = self._other.get(name.strip().upper(), ())
        return sorted({self._singles[s.upper()] for s in others if s.upper() in self._singles})

    def near(self, name: str) -> tuple[str, ...]:
        """Up to three symbols of the library that look like the name."""
        close = difflib.get_close_matches(name.strip().upper(), list(self.library.by_upper), n=3, cutoff=0.6)
        return tuple(self.library.by_upper[c] for c in close)


def validate(
    names: Sequence[str], view: View, resolver: Resolver, limit: int
) -> tuple[list[int], list[Dropped]]:
    """At most `limit` rows of distinct untested genes in the order named, and every dropped name with its reason."""
    rows: list[int] = []
    dropped: list[Dropped] = []
    for name in names:
        symbol = resolver(name)
        if symbol is None:
            meant = resolver.meanings(name)
            reason = f"could be {' or '.join(meant)}" if meant else "not in the library"
            dropped.append(Dropped(name, reason, resolver.near(name)))
            continue
        row = view.library.position[symbol]
        if not view.untested[row]:
            dropped.append(Dropped(name, "already tested"))
        elif row in rows:
            dropped.append(Dropped(name, "named twice"))
        elif len(rows) >= limit:
            dropped.append(Dropped(name, f"beyond the {limit} places for named genes"))
        else:
            rows.append(row)
    return rows, dropped


def fill(rows: Sequence[int], scores: NDArray[np.float64], view: View) -> list[int]:
    """`rows` first, then the best-scored other untested genes, to exactly the batch (or all that are left).

    The last tie-break is 1e-9 of a normal keyed by unit, round and gene.
    """
    order = np.argsort(-(scores + 1e-9 * view.normals("tie")), kind="stable")
    free = view.untested.copy()
    free[list(rows)] = False
    ranked = order[free[order]]
    return [*rows, *ranked[: max(0, view.batch - len(rows))].tolist()]
