"""Noise on letters: keyboard typos, deletions, insertions, swaps and OCR confusions, nested in strength.

One hash per code point decides at which strength it is edited and how. Blanks are never touched, so a
text keeps its words and their labels. Strength is the probability that an editable place is edited.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agentkit.errors import ParamError, unknown
from agentkit_input_noise import keyed
from agentkit_input_noise.codepoints import CodePoints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

QWERTY_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
ROW_SHIFT = (0.0, 0.25, 0.75)
"""How far each row of the keyboard stands to the right of the first, in keys."""

OCR_LOOKALIKES = (
    "0OQD", "0o", "1lIi|", "2Zz", "5Ss", "6Gb", "8B", "9gq", "ce", "uv", "hb", "nr", "mn", "ft", "VY", "EF", "PR", "UV",
)  # fmt: skip
"""Groups of characters that scanners take for one another."""


class Noised(NamedTuple):
    """Texts after noise, with how many of their editable places were edited, both of shape (items,)."""

    texts: list[str]
    edited: NDArray[np.int64]
    editable: NDArray[np.int64]


@dataclass(frozen=True)
class Edits:
    """What one kind may do: the places it can edit, and the texts when a part of them is edited."""

    editable: NDArray[np.bool_]
    apply: Callable[[NDArray[np.bool_]], CodePoints]


class LetterNoise:
    """One kind of noise on fixed texts with a fixed key; `at(p)` gives the texts at strength p.

    Args:
        texts: what to perturb.
        items: one stable id per text, which the noise is keyed on.
        kind: one of `KINDS`.
        key: 64 bits, one per unit and kind (`keyed.stream_key`).
        where: code points that may be edited, shape (chars,); all of them when None.

    Raises:
        ParamError: an unknown kind, with near names.
    """

    def __init__(
        self,
        texts: Sequence[str],
        items: Sequence[int] | NDArray[np.int64],
        kind: str,
        key: int,
        where: NDArray[np.bool_] | None = None,
    ) -> None:
        if kind not in KINDS:
            raise ParamError(unknown("kind of letter noise", kind, KINDS))
        self._points = points = CodePoints.of(texts)
        self._hashes = keyed.position_hashes(key, items, points.lengths)
        self._edits = KINDS[kind](points, self._hashes)
        self._editable = self._edits.editable if where is None else self._edits.editable & where
        self._editable_count = points.sums(self._editable)

    def at(self, p: float) -> Noised:
        """The texts at strength p in [0, 1]; at 0 they are the texts that were given."""
        chosen = self._editable & keyed.below(self._hashes, p)
        texts = self._edits.apply(chosen).texts()
        return Noised(texts, self._points.sums(chosen), self._editable_count)


def _typos(points: CodePoints, hashes: NDArray[np.uint32]) -> Edits:
    """A letter becomes a neighbour on the QWERTY keyboard; case is kept."""
    return _substitution(points, hashes, _KEYBOARD)


def _ocr(points: CodePoints, hashes: NDArray[np.uint32]) -> Edits:
    """A character becomes one that a scanner takes it for."""
    return _substitution(points, hashes, _OCR)


def _substitution(points: CodePoints, hashes: NDArray[np.uint32], table: _Table) -> Edits:
    codes = points.codes

    def apply(chosen: NDArray[np.bool_]) -> CodePoints:
        at, edited = np.flatnonzero(chosen), codes.copy()
        edited[at] = table.other(codes[at], hashes[at])
        return CodePoints(edited, points.lengths)

    return Edits(table.knows(codes), apply)


def _delete(points: CodePoints, hashes: NDArray[np.uint32]) -> Edits:
    """A letter disappears; of each word's letters one, drawn by a second hash, always stays."""
    letter = points.letter
    order = np.lexsort((keyed.second(hashes), letter, points.word))  # in a word: other signs, then letters
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = points.word[order[1:]] != points.word[order[:-1]]
    stays = np.zeros(len(order), dtype=np.bool_)
    stays[order[last]] = True

    def apply(chosen: NDArray[np.bool_]) -> CodePoints:
        return CodePoints(points.codes[~chosen], points.lengths - points.sums(chosen))

    return Edits(letter & ~stays, apply)


def _insert(points: CodePoints, hashes: NDArray[np.uint32]) -> Edits:
    """After a letter comes one of its keyboard neighbours; the letter itself where there is no such key."""
    codes = points.codes

    def apply(chosen: NDArray[np.bool_]) -> CodePoints:
        at = np.flatnonzero(chosen)
        extra = np.where(_KEYBOARD.knows(codes[at]), _KEYBOARD.other(codes[at], hashes[at]), codes[at])
        return CodePoints(np.insert(codes, at + 1, extra), points.lengths + points.sums(chosen))

    return Edits(points.letter, apply)


def _swap(points: CodePoints, hashes: NDArray[np.uint32]) -> Edits:
    """Two neighbouring letters change places; pairs are disjoint and fixed, so larger strengths add pairs."""
    codes = points.codes
    first = points.next_in_word(points.letter)
    different = np.zeros(len(codes), dtype=np.bool_)
    different[:-1] = codes[:-1] != codes[1:]
    start = np.flatnonzero(points.position == 0)
    parity = np.repeat(hashes[start] >> np.uint32(7), points.lengths[points.lengths > 0]) & np.uint32(1)
    first &= different & ((points.position + parity) % np.uint32(2) == 0)

    def apply(chosen: NDArray[np.bool_]) -> CodePoints:
        swapped, at = codes.copy(), np.flatnonzero(chosen)
        swapped[at], swapped[at + 1] = codes[at + 1], codes[at]
        return CodePoints(swapped, points.lengths)

    return Edits(first, apply)


@dataclass(frozen=True)
class _Table:
    """For each ASCII code: how many substitutes it has, and which, shapes (128,) and (128, most).

    Code 127 stands for every code that is not in the table.
    """

    count: NDArray[np.uint32]
    others: NDArray[np.uint32]

    def knows(self, codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which codes have a substitute."""
        return (self.count > 0)[np.minimum(codes, 127)]

    def other(self, codes: NDArray[np.uint32], hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The substitute that each hash picks (0 where there is none)."""
        index = np.minimum(codes, 127)
        return self.others[index, keyed.choice(hashes, self.count[index])]


def _table(substitutes: dict[str, str]) -> _Table:
    count = np.zeros(128, dtype=np.uint32)
    others = np.zeros((128, max(map(len, substitutes.values()))), dtype=np.uint32)
    for char, replacements in substitutes.items():
        count[ord(char)] = len(replacements)
        others[ord(char), : len(replacements)] = [ord(r) for r in replacements]
    return _Table(count, others)


def _keyboard_neighbours() -> dict[str, str]:
    place = {
        key: (row, column + ROW_SHIFT[row])
        for row, keys in enumerate(QWERTY_ROWS)
        for column, key in enumerate(keys)
    }
    near = {
        key: "".join(
            other
            for other, (r, c) in place.items()
            if other != key and abs(r - row) <= 1 and abs(c - column) <= 1
        )
        for key, (row, column) in place.items()
    }
    return near | {key.upper(): others.upper() for key, others in near.items()}


def _lookalikes() -> dict[str, str]:
    found: dict[str, str] = {}
    for group in OCR_LOOKALIKES:
        for char in group:
            found[char] = found.get(char, "") + "".join(
                o for o in group if o not in (char, *found.get(char, ""))
            )
    return {char: others for char, others in found.items() if others}


_KEYBOARD = _table(_keyboard_neighbours())
_OCR = _table(_lookalikes())

KINDS: dict[str, Callable[[CodePoints, NDArray[np.uint32]], Edits]] = {
    "typos": _typos,
    "delete": _delete,
    "insert": _insert,
    "swap": _swap,
    "ocr": _ocr,
}
"""Every kind of letter noise by name."""
