"""A document as Markdown (GitHub's flavour): names from users and plugins can neither break a table nor add markup."""

from __future__ import annotations

import re

from agentkit.report.document import (
    Block,
    Bullets,
    Document,
    Heading,
    Inline,
    Page,
    Paragraph,
    Picture,
    Span,
    Table,
    code,
    shown,
    text,
)

SPECIAL = re.compile(r"([\\`*_\[\]<>#|~$&])")
BACKTICKS = re.compile(r"`+")
LEADING_MARK = re.compile(r"^(\d*)([-+.)=])(?=\s|[-=]|$)")
"""What would make a list, a rule or a heading of a line that starts with it."""


def to_markdown(document: Document, figure_folder: str) -> str:
    """The whole report; figures are linked as `figure_folder/name.svg`."""
    return "\n\n".join(_block(block, figure_folder) for block in document.blocks) + "\n"


def inline_markdown(inline: Inline, *, in_table: bool = False) -> str:
    """Inline text with every markup character escaped."""
    return "".join(_span(span, in_table) for span in inline)


def _block(block: Block, figure_folder: str) -> str:
    match block:
        case Heading(level, words):
            return f"{'#' * level} {_line(words)}"
        case Paragraph(words, note):
            return f"> {_line(words)}" if note else _line(words)
        case Bullets(items):
            return "\n".join(f"- {_line(item)}" for item in items)
        case Table():
            return _table(block)
        case Picture(name, _, alt, caption):
            return f"![{_span(Span(alt), False)}]({figure_folder}/{name}.svg)\n\n{_line(caption)}"
        case Page(name):
            return f"#### {_line(text(code(name)))}\n\n" + "\n".join(f"    {line}" for line in block.lines)


def _line(inline: Inline) -> str:
    return LEADING_MARK.sub(r"\1\\\2", inline_markdown(inline))


def _table(table: Table) -> str:
    head = [inline_markdown(text(column), in_table=True) for column in table.columns]
    rule = ["---:" if i in table.numeric else "---" for i in range(len(head))]
    body = [[inline_markdown(cell, in_table=True) for cell in row] for row in table.rows]
    lines = [f"| {' | '.join(row)} |" for row in [head, rule, *body]]
    caption = [f"{inline_markdown(text(table.caption))}", ""] if table.caption else []
    return "\n".join([*caption, *lines])


def _span(span: Span, in_table: bool) -> str:
    words = shown(span.text)
    if span.style == "code" and words.strip():
        return _code(words, in_table)
    escaped = SPECIAL.sub(r"\\\1", words)
    return f"**{escaped}**" if span.style in ("strong", "label") and words.strip() else escaped


def _code(words: str, in_table: bool) -> str:
    """A code span with a fence longer than any run of backticks inside; a table splits at `|` even in code."""
    longest = max((len(run) for run in BACKTICKS.findall(words)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{pad}{words.replace('|', chr(92) + '|') if in_table else words}{pad}{fence}"
