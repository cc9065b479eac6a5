"""Prose that says what only a verdict may say, without citing one."""

from __future__ import annotations

import re

VERDICT_WORDS = re.compile(
    r"\b(supported|contradicted|equivalent|confirmed|refuted|proven|proves?|significant(ly)?|no effect)\b",
    re.IGNORECASE,
)
CITATION = re.compile(r"(?<![\w.])[VH]\d+(\.\d+)?\b")  # `L3.H2` is a head
HEADING = re.compile(r"(#{1,6})\s+(.*)")
FREE = re.compile(r"exploratory|limits|verdicts|ledger", re.IGNORECASE)
"""Headings of sections whose sentences need no citation: they are marked, or explain the words."""


def uncited_claims(markdown: str) -> list[str]:
    """Lines that use a verdict's words and cite no verdict (`V3.2`, `H3`), outside sections that are marked as such.

    Quoted lines (`>`) are what the user asked, and are left out.
    """
    found = []
    free_below = 0
    for line in markdown.splitlines():
        if match := HEADING.match(line):
            level = len(match[1])
            if free_below == 0 or level <= free_below:
                free_below = level if FREE.search(match[2]) else 0
            continue
        claims = VERDICT_WORDS.search(line) and not CITATION.search(line)
        if claims and not free_below and not line.startswith(">"):
            found.append(line.strip())
    return found
