"""What a listener writes down: words that sound alike, teens for tens, digits spelled out. English."""

from __future__ import annotations

SOUND_ALIKE = (
    "ate eight", "aisle isle", "bare bear", "bay bey", "beach beech", "bell belle", "berry bury", "blue blew",
    "bridal bridle", "brows browse", "cedar seeder", "cell sell", "cent sent scent", "center centre", "coarse course",
    "court caught", "creek creak", "dear deer", "east yeast", "fair fare", "fir fur", "flower flour", "for four fore",
    "fort fought", "forth fourth", "gate gait", "grate great", "grove groove", "hail hale", "hair hare", "hall haul",
    "heart hart", "hill heel", "hole whole", "king kin", "lake leak", "lane lain", "leaf lief", "made maid",
    "mail male", "main mane maine", "mall maul", "manor manner", "martin marten", "mill meal", "morning mourning",
    "new knew", "night knight", "no know", "one won", "pair pear", "park bark", "pearl purl",
    "pier peer", "pike pyke", "place plaice", "plain plane", "poor pour", "prince prints", "rain reign rein",
    "right write", "ring wring", "road rode rowed", "rose rows", "route root", "sail sale", "sea see", "seller cellar",
    "shore sure", "site sight", "sixth sick", "son sun", "south self", "stair stare", "steel steal", "street straight",
    "suite sweet", "tail tale", "third bird", "through threw", "tide tied", "to too two", "vale veil", "waste waist",
    "way weigh whey", "week weak", "west vest", "wood would",
)  # fmt: skip
"""Groups of words taken for one another; a word may stand in one group only."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

TEEN_OR_TEN = {f"1{d}": f"{d}0" for d in range(3, 10)} | {f"{d}0": f"1{d}" for d in range(3, 10)}
"""15 is heard as 50, and 50 as 15."""

_ALIKE = {word: [o for o in group.split() if o != word] for group in SOUND_ALIKE for word in group.split()}


def heard(word: str, pick: int) -> list[str] | None:
    """What a listener may write instead of one word: one or several words; None where this list knows nothing.

    Signs around the word stay, and so does its case: `Main,` is heard as `Mane,`.

    Args:
        word: one word, no blanks.
        pick: chooses among several possibilities.
    """
    core = word.strip("".join(c for c in set(word) if not c.isalnum()))
    if not core:
        return None
    before, _, after = word.partition(core)
    said = _heard_core(core, pick)
    if said is None:
        return None
    said[0], said[-1] = before + said[0], said[-1] + after
    return said


def _heard_core(core: str, pick: int) -> list[str] | None:
    if core in TEEN_OR_TEN:
        return [TEEN_OR_TEN[core]]
    if core.isascii() and core.isdigit():
        return [DIGITS[int(d)] for d in core]
    others = _ALIKE.get(core.lower())
    return others and [_cased_like(core, others[pick % len(others)])]


def _cased_like(pattern: str, word: str) -> str:
    if pattern.isupper() and len(pattern) > 1:
        return word.upper()
    return word.capitalize() if pattern[:1].isupper() else word
