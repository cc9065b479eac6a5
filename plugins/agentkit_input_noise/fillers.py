"""Words that say nothing about the content: carrier phrases, discourse markers, unrelated sentences."""

from __future__ import annotations

CARRIERS_BEFORE = (
    "please send it to", "I am looking for", "could you deliver this to", "the parcel goes to", "my place is at",
    "we have moved to", "so the thing is", "you will find us at",
)  # fmt: skip
CARRIERS_AFTER = (
    "if that is possible", "as soon as you can", "thank you very much", "and nothing else", "that is all I know",
    "if I remember it correctly", "or so they told me", "before the weekend",
)  # fmt: skip
MARKERS = ("well", "okay so", "you know", "by the way", "listen", "um", "right then", "anyway")
UNRELATED = (
    "my sister likes the sea", "it rained the whole night", "the coffee was too cold", "our cat sleeps all day",
    "nobody answered the phone", "they play chess on Fridays", "the film was rather long", "bread is in the oven",
)  # fmt: skip


def verbose(level: int, picks: list[int]) -> tuple[list[str], list[str]]:
    """Words before and after a text for 1 to 3 fillers: a carrier before, one after, another before."""
    before = [_pick(CARRIERS_BEFORE, picks[0])]
    after = [_pick(CARRIERS_AFTER, picks[1])] if level > 1 else []
    if level > 2:
        before.insert(0, _pick(MARKERS, picks[2]))
    return _words(before), _words(after)


def appended(level: int, picks: list[int]) -> tuple[list[str], list[str]]:
    """Words before and after a text: an unrelated sentence after, then a marker before, then a second sentence."""
    after = [_pick(UNRELATED, picks[0])]
    before = [_pick(MARKERS, picks[1])] if level > 1 else []
    if level > 2:
        after.append(_pick(UNRELATED, picks[0] + 1))
    return _words(before), _words(after)


def _pick(phrases: tuple[str, ...], pick: int) -> str:
    return phrases[pick % len(phrases)]


def _words(phrases: list[str]) -> list[str]:
    return [word for phrase in phrases for word in phrase.split()]
