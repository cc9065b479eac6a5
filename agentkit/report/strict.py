"""Prose that says what only a verdict may say, without citing one that says it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agentkit.ledger.sessions import find_session, list_sessions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agentkit.ledger import Campaign

VERDICT_WORDS = re.compile(
    r"\b(supported|contradicted|equivalent|confirmed|refuted|proven|proves?|significant(ly)?|no effect)\b",
    re.IGNORECASE,
)
CITATION = re.compile(r"(?<![\w.])[VH]\d+(\.\d+)?\b")  # `L3.H2` is a head
HEADING = re.compile(r"(#{1,6})\s+(.*)")
FREE = re.compile(r"exploratory|limits|verdicts|ledger", re.IGNORECASE)
"""Headings of sections whose sentences need no citation: they are marked, or explain the words."""


LABEL_WORDS = re.compile(r"(?<!not )\b(supported|contradicted|equivalent|no effect)\b", re.IGNORECASE)
"""Words that name one label; `no effect` may be said of `equivalent` only."""


def uncited_claims(markdown: str) -> list[str]:
    """Lines that use a verdict's words and cite no verdict (`V3.2`, `H3`), outside sections that are marked as such.

    Quoted lines (`>`) are what the user asked, and are left out.
    """
    return [line for line in _claims(markdown) if not CITATION.search(line)]


def unbacked_claims(markdown: str, labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Claims that cite no verdict, cite one that does not exist, or say another label than it has; each with the reason.

    Args:
        markdown: the prose.
        labels: label of each hypothesis by its ref (`H3`); `open` for one without a verdict.
    """
    found = []
    for line in _claims(markdown):
        cited = ["H" + match[0][1:].split(".")[0] for match in CITATION.finditer(line)]
        absent = [ref for ref in cited if ref not in labels]
        said = {"equivalent" if w.lower() == "no effect" else w.lower() for w in LABEL_WORDS.findall(line)}
        wrong = sorted(said - {labels.get(ref) for ref in cited})
        if not cited:
            found.append((line, "it cites no verdict, so it is exploratory"))
        elif absent:
            found.append((line, f"{absent[0]} is no hypothesis of this campaign"))
        elif wrong:
            have = ", ".join(f"{ref} is {labels[ref]}" for ref in cited)
            found.append((line, f"nothing cited is {wrong[0]}: {have}"))
    return found


def closing_words(campaign: Campaign) -> dict[str, str]:
    """The last thing that each planner session of a campaign said, by `session ID`."""
    words = {}
    for row in list_sessions(campaign.ledger.store):
        if row["campaign"] != campaign.key:
            continue
        session = find_session(campaign, row["id"])
        said = [message for _, message in session.chain(session.tip())]
        if said and said[-1].role == "ai":
            content = said[-1].parts["content"]
            parts = (
                [content]
                if isinstance(content, str)
                else [b.get("text", "") for b in content if isinstance(b, dict)]
            )
            words[f"session {session.id}"] = "\n".join(parts)
    return words


def _claims(markdown: str) -> Iterator[str]:
    """Lines in a verdict's words that are neither quoted nor in a section that is marked."""
    free_below = 0
    for line in markdown.splitlines():
        if match := HEADING.match(line):
            level = len(match[1])
            if free_below == 0 or level <= free_below:
                free_below = level if FREE.search(match[2]) else 0
            continue
        if VERDICT_WORDS.search(line) and not free_below and not line.startswith(">"):
            yield line.strip()
