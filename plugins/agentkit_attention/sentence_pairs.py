"""Sentences and their paraphrases, read from the shipped file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class SentencePairs:
    """Paraphrase pairs.

    Attributes:
        pairs: (sentence, paraphrase), in the file's order.
        texts: all sentences, then all paraphrases.
    """

    def __init__(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        self.pairs = tuple((a, b) for a, b in (line.split("\t") for line in lines))
        self.texts = tuple(p[side] for side in (0, 1) for p in self.pairs)
