"""Texts as one flat array of Unicode code points, so that edits are array operations in any script."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

CODEC = "utf-32-le"


@dataclass(frozen=True)
class CodePoints:
    """Many texts end to end.

    Attributes:
        codes: code points of all texts, shape (chars,).
        lengths: code points per text, shape (items,).
    """

    codes: NDArray[np.uint32]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str]) -> CodePoints:
        """The code points of `texts`; lone surrogates and line breaks are kept as they are."""
        data = "".join(texts).encode(CODEC, "surrogatepass")
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        return cls(np.frombuffer(data, dtype=np.uint32), lengths)

    def texts(self) -> list[str]:
        """The texts again."""
        whole = self.codes.tobytes().decode(CODEC, "surrogatepass")
        ends = np.cumsum(self.lengths).tolist()
        starts = [0, *ends[:-1]]
        return [whole[a:b] for a, b in zip(starts, ends, strict=True)]

    @cached_property
    def item(self) -> NDArray[np.int64]:
        """Which text each code point belongs to, shape (chars,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def position(self) -> NDArray[np.uint32]:
        """Place of each code point in its own text, from 0, shape (chars,)."""
        starts = np.cumsum(self.lengths) - self.lengths
        return (np.arange(len(self.codes)) - np.repeat(starts, self.lengths)).astype(np.uint32)

    @cached_property
    def letter(self) -> NDArray[np.bool_]:
        """Which code points are letters of some script, shape (chars,)."""
        return self._which(str.isalpha)

    @cached_property
    def word(self) -> NDArray[np.int64]:
        """Which run of non-blank code points each belongs to, counted over all texts, shape (chars,)."""
        blank = self._which(str.isspace)
        return np.cumsum(blank | (self.position == 0))

    def next_in_word(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which masked code points are followed by a masked one of the same word, shape (chars,)."""
        follows = np.zeros(len(self.codes), dtype=np.bool_)
        follows[:-1] = mask[:-1] & mask[1:] & (self.word[:-1] == self.word[1:])
        return follows

    def sums(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many code points of each text are masked, shape (items,)."""
        places = np.searchsorted(np.flatnonzero(mask), np.cumsum(self.lengths))
        return np.diff(places, prepend=0)

    def _which(self, predicate: Callable[[str], bool]) -> NDArray[np.bool_]:
        if len(self.codes) == 0:
            return np.zeros(0, dtype=np.bool_)
        distinct, inverse = np.unique(self.codes, return_inverse=True)
        return np.array([predicate(chr(c)) for c in distinct.tolist()], dtype=np.bool_)[inverse]
