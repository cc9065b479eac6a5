"""Which words are personal, and what stands in their place: keyed, consistent over all texts, nested in the share."""

from __future__ import annotations

import hashlib
import re
import string
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agentkit_input_noise import keyed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Words = list[tuple[str, str]]

PERSONAL = frozenset(
    {
        "AddressNumber", "StreetName", "PlaceName", "BuildingName", "LandmarkName", "Recipient", "ZipCode", "ZipPlus4",
        "OccupancyIdentifier", "SubaddressIdentifier", "USPSBoxID", "USPSBoxGroupID",
    }
)  # fmt: skip
"""Labels of words that say who or where."""

NUMBER = re.compile(r"\d")
CAPITAL = re.compile(r"^[^\w]*[A-Z]")
COMMON = frozenset(["street", "st", "avenue", "ave", "road", "rd", "drive", "dr", "lane", "ln", "boulevard", "blvd", "court", "ct", "place", "pl", "north", "south", "east", "west", "n", "s", "e", "w", "ne", "nw", "se", "sw", "suite", "ste", "apt", "unit", "floor", "po", "box", "the", "of", "and"])  # fmt: skip
"""Words with a capital that the rules know to be no name."""


class Hidden(NamedTuple):
    """Texts after hiding, with how many of their words were replaced."""

    sentences: list[Words]
    replaced: int


def is_personal(word: str, tag: str, detector: str) -> bool:
    """By the label, or by a guess: a word with a digit, or with a capital and not of the common ones."""
    if detector == "tags":
        return tag in PERSONAL
    core = word.strip(".,;:()#").lower()
    return bool(NUMBER.search(word) or (CAPITAL.search(word) and core not in COMMON and len(core) > 1))


class Hider:
    """Hides personal words with one key.

    Args:
        strategy: `mask`, `type` or `faux`.
        detector: `tags` or `rules`.
        key: 64 bits, one a unit.
        pool: for every label, the words that `faux` may take.
    """

    def __init__(self, strategy: str, detector: str, key: int, pool: Mapping[str, Sequence[str]]) -> None:
        self._strategy, self._detector, self._key, self._pool = strategy, detector, key, pool

    def at(self, sentences: Sequence[Words], share: float) -> Hidden:
        """The texts with a share of their personal values hidden."""
        done, replaced = [], 0
        for words in sentences:
            changed: Words = []
            for word, tag in words:
                hide = is_personal(word, tag, self._detector) and self._chosen(word, share)
                changed.append((self._instead(word, tag), tag) if hide else (word, tag))
                replaced += hide
            done.append(changed)
        return Hidden(done, replaced)

    def _hash(self, word: str) -> np.uint32:
        digest = hashlib.blake2b(_core(word).lower().encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return np.uint32(keyed.item_hash(self._key, [int.from_bytes(digest, "big")])[0])

    def _chosen(self, word: str, share: float) -> bool:
        return bool(keyed.below(np.array([self._hash(word)]), share)[0])

    def _instead(self, word: str, tag: str) -> str:
        core = _core(word)
        if not core:
            return word
        before, _, after = word.partition(core)
        return before + self._replacement(core, tag) + after

    def _replacement(self, core: str, tag: str) -> str:
        if self._strategy == "mask":
            return "*" * len(core)
        if self._strategy == "type":
            return f"[{tag}]"
        pick = int(keyed.mix32(np.array([self._hash(core)]) + np.uint32(1))[0])
        if any(c.isdigit() for c in core):
            return _other_digits(core, pick)
        others = [w for w in self._pool.get(tag, ()) if w.lower() != core.lower()]
        if not others:
            return _other_letters(core, pick)
        word = others[pick % len(others)]
        return (
            word.upper()
            if core.isupper() and len(core) > 1
            else word.capitalize()
            if core[0].isupper()
            else word
        )


def pool_of(tokens: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Words of every personal label, without signs around them and without digits, sorted."""
    found: dict[str, set[str]] = {}
    for words, labels in zip(tokens, tags, strict=True):
        for word, tag in zip(words, labels, strict=True):
            core = _core(word).lower()
            if tag in PERSONAL and core.isalpha():
                found.setdefault(tag, set()).add(core)
    return {tag: sorted(words) for tag, words in found.items()}


def leaked(clean: Words, hidden: Words) -> tuple[int, int]:
    """How many personal words of a text still stand in it, and how many there are."""
    left = {_core(word).lower() for word, _ in hidden}
    personal = [_core(word).lower() for word, tag in clean if tag in PERSONAL and _core(word)]
    return sum(word in left for word in personal), len(personal)


def _core(word: str) -> str:
    return word.strip("".join(c for c in set(word) if not c.isalnum()))


def _other_digits(core: str, pick: int) -> str:
    """Every digit becomes another one; letters and signs stay, and no number begins with a new zero."""
    result = ""
    for place, sign in enumerate(core):
        options = [d for d in "0123456789" if d != sign and (d != "0" or place > 0)]
        result += options[(pick >> (3 * (place % 10))) % len(options)] if sign in "0123456789" else sign
    return result


def _other_letters(core: str, pick: int) -> str:
    """Every ASCII letter moves by the same number of places in the alphabet; case and other signs stay."""
    step, alphabet = 1 + pick % 25, string.ascii_lowercase
    moved = alphabet[step:] + alphabet[:step]
    return core.translate(str.maketrans(alphabet + alphabet.upper(), moved + moved.upper()))
