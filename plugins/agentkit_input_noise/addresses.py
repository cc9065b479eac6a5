"""The labelled United States addresses of usaddress, and record linkage on them.

Other plugins reach this object through `ctx.target("addresses:")`: what is public here is its contract.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import agentkit
from agentkit.errors import ParamError, TargetError
from agentkit_input_noise import address_rules
from agentkit_input_noise.address_rules import CLOSED_CLASS, OPEN_CLASS, Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

FILE = Path(__file__).parent / "data" / "addresses.txt"
TRAIN_SHARE = 0.8


class LinkageItems(NamedTuple):
    """Misspelt addresses and where they belong.

    Attributes:
        queries: one misspelt address per item.
        candidates: distinct addresses; no two are equal but for case.
        answers: index of each query's right address in `candidates`.
    """

    queries: tuple[str, ...]
    candidates: tuple[str, ...]
    answers: tuple[int, ...]


@dataclass(frozen=True)
class Addresses:
    """1,487 distinct addresses (distinct whatever the case), their words and one tag a word.

    Attributes:
        texts: the addresses, words joined by one blank, in the file's order.
        tokens: words of each address.
        tags: one of 29 tags per word; `NotAddress` is the outside tag.
        train: indices of the four fifths to learn from.
        test: indices of the others, which questions are drawn from. The split is by hash of the text.
        sha256: hash of the file.
        outside: the outside tag.
        open_class: tags of names.
        closed_class: tags of words from a short list.
    """

    texts: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...] = field(repr=False)
    tags: tuple[tuple[str, ...], ...] = field(repr=False)
    train: tuple[int, ...] = field(repr=False)
    test: tuple[int, ...] = field(repr=False)
    sha256: str
    outside: str = "NotAddress"
    open_class: frozenset[str] = field(default=OPEN_CLASS, repr=False)
    closed_class: frozenset[str] = field(default=CLOSED_CLASS, repr=False)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[int, ...]:
        """Indices of n test addresses, drawn without replacement; raises `ParamError` beyond the split."""
        return draw(rng, self.test, n, what="test addresses")

    def candidates(
        self, rng: np.random.Generator, items: Sequence[int], count: int | None
    ) -> tuple[int, ...]:
        """Indices, ascending, of the addresses to choose among: the items, and others up to `count`.

        Others come from the test split first, then from the train split; None means every address.
        """
        return candidates(rng, items, count, (self.test, self.train), what="addresses")

    def paraphrase(self, words: Words, level: int) -> Words:
        """The same address written otherwise, levels 1 to 3 (see `address_rules.paraphrase`)."""
        return address_rules.paraphrase(words, level)

    def simplify(self, words: Words, level: int) -> Words:
        """The address without optional parts, levels 1 to 3 (see `address_rules.simplify`)."""
        return address_rules.simplify(words, level)

    def linkage_items(
        self,
        unit_rng: np.random.Generator,
        n: int,
        rate: float,
        kind: str = "typos",
        key: int = 0,
        candidates: int | None = None,
    ) -> LinkageItems:
        """Draw n test addresses, misspell each at `rate`, and list the candidates to find them among.

        Equal states of `unit_rng` draw the same items and candidates, whatever the rate, kind and key; equal
        keys make nested edits, so a larger rate keeps every edit of a smaller one. Rate 0 changes nothing.

        Raises:
            ParamError: more items than test addresses, or a number of candidates that cannot be, or an
                unknown kind of letter noise.
        """
        from agentkit_input_noise.letters import LetterNoise

        items = self.draw(unit_rng, n)
        pool = self.candidates(unit_rng, items, candidates)
        noised = LetterNoise([self.texts[i] for i in items], items, kind, key).at(rate)
        place = {index: k for k, index in enumerate(pool)}
        return LinkageItems(
            queries=tuple(noised.texts),
            candidates=tuple(self.texts[i] for i in pool),
            answers=tuple(place[i] for i in items),
        )


def candidates(
    rng: np.random.Generator,
    items: Sequence[int],
    count: int | None,
    splits: Sequence[Sequence[int]],
    *,
    what: str,
) -> tuple[int, ...]:
    """The items and others up to `count`, from the splits in their order, ascending; None means all of them."""
    total = sum(map(len, splits))
    if not len(items) <= (count := total if count is None else count) <= total:
        raise ParamError(
            f"{what}: {count} candidates for {len(items)} items; {len(items)} to {total} are possible"
        )
    chosen = list(items)
    for split in splits:
        others = sorted(set(split) - set(chosen))
        chosen += draw(rng, others, min(count - len(chosen), len(others)), what=what)
    return tuple(sorted(chosen))


def draw(rng: np.random.Generator, pool: Sequence[int], n: int, *, what: str) -> tuple[int, ...]:
    """Take n of `pool` without replacement, in drawn order."""
    if n > len(pool):
        raise ParamError(f"{n} items were asked for; there are {len(pool)} {what}")
    return tuple(int(pool[i]) for i in rng.choice(len(pool), size=n, replace=False))


def fingerprint(rest: str) -> str:
    """Hash of the vendored file; the URI has nothing after its colon."""
    if rest:
        raise TargetError(f"addresses:{rest}: nothing may follow the colon; write addresses:")
    return hashlib.sha256(FILE.read_bytes()).hexdigest()


@agentkit.target("addresses", fingerprint=fingerprint)
def addresses(rest: str, device: str) -> Addresses:
    """1,487 labelled US addresses (usaddress, MIT): words, tags, a split, and record linkage."""
    return _read(fingerprint(rest))


@cache
def _read(sha256: str) -> Addresses:
    header, _, body = FILE.read_text(encoding="utf-8").partition("\n\n")
    name_of = dict(line.split(" ") for line in header.splitlines())
    rows = [line.rsplit("\t", 1) for line in body.splitlines()]
    texts = tuple(text for text, _ in rows)
    by_hash = sorted(range(len(texts)), key=lambda i: hashlib.sha256(texts[i].lower().encode()).digest())
    cut = int(TRAIN_SHARE * len(texts))
    return Addresses(
        texts=texts,
        tokens=tuple(tuple(text.split(" ")) for text in texts),
        tags=tuple(tuple(name_of[letter] for letter in letters) for _, letters in rows),
        train=tuple(sorted(by_hash[:cut])),
        test=tuple(sorted(by_hash[cut:])),
        sha256=sha256,
    )
