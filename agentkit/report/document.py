"""The report before it is Markdown or HTML: blocks of inline text, so that nothing is escaped twice or not at all."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

Style = Literal["plain", "code", "strong", "label", "faint"]


@dataclass(frozen=True)
class Span:
    """A piece of text in one style; `label` is a verdict's label, shown as a coloured chip where there is colour."""

    text: str
    style: Style = "plain"


UNSEEN = frozenset({"Cc", "Cf", "Cs"})
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

Inline = tuple[Span, ...]
"""Text of one paragraph, cell or item."""


def text(*parts: str | Span | Inline) -> Inline:
    """Inline text from plain strings, spans and other inline text."""
    spans: list[Span] = []
    for part in parts:
        if isinstance(part, str):
            spans.append(Span(part))
        elif isinstance(part, Span):
            spans.append(part)
        else:
            spans.extend(part)
    return tuple(spans)


def code(name: str) -> Span:
    """A name that can be typed back."""
    return Span(name, "code")


def strong(words: str) -> Span:
    """What the eye should find first."""
    return Span(words, "strong")


def label(name: str) -> Span:
    """The label of a verdict."""
    return Span(name, "label")


def faint(inline: Inline) -> Inline:
    """Words of second rank: in a table they stand on a line of their own."""
    return (Span(f"({plain(inline)})", "faint"),)


def plain(inline: Inline) -> str:
    """The words alone, for a terminal, a figure or an `alt` text."""
    return "".join(span.text for span in inline)


def shown(words: str) -> str:
    """The words on one line, without characters that act instead of being seen (controls, direction overrides)."""
    one_line = " ".join(words.split())
    return visible(_edges(words, one_line))


def visible(line: str) -> str:
    """The line with a replacement for every character that acts instead of being seen; spaces stay."""
    return "".join(REPLACEMENT if unicodedata.category(c) in UNSEEN else c for c in line)


def _edges(words: str, one_line: str) -> str:
    """Spans are joined end to end, so a space at either end must stay."""
    if not one_line:
        return " " if words else ""
    return " " * words[:1].isspace() + one_line + " " * words[-1:].isspace()


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 to 4."""

    level: int
    words: Inline


@dataclass(frozen=True)
class Paragraph:
    """Running text; a `note` is set apart."""

    words: Inline
    note: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list of short items."""

    items: tuple[Inline, ...]


@dataclass(frozen=True)
class Table:
    """Rows under named columns.

    `numeric` columns (by index) are set flush right; `cards`: a narrow screen shows each row as a card.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Inline, ...], ...]
    numeric: frozenset[int] = frozenset()
    caption: str = ""
    cards: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure as SVG text; `alt` says in words what it shows, `min_width` (CSS px) keeps it legible on a phone."""

    name: str
    svg: str
    alt: str
    caption: Inline
    min_width: int = 0


@dataclass(frozen=True)
class Page:
    """Text of a tool's own, line by line as it wrote it; it stays folded until somebody opens it."""

    name: str
    words: str

    @property
    def lines(self) -> tuple[str, ...]:
        """Its lines, blank ones at the ends left out."""
        return tuple(visible(line.rstrip().expandtabs()) for line in self.words.strip("\n").split("\n"))


Block = Heading | Paragraph | Bullets | Table | Picture | Page


@dataclass(frozen=True)
class Document:
    """A title and its blocks, in reading order."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The figures, in order."""
        return tuple(block for block in self.blocks if isinstance(block, Picture))
