"""A document as one HTML file: figures inline, no script, no network, every word escaped."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files

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
    shown,
)

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Nothing is loaded and nothing runs; inline styles are what matplotlib's SVG and the page itself use."""

SVG_ID = re.compile(r'(\bid="|url\(#|href="#)')
SVG_SIZE = re.compile(r'<svg [^>]*?viewBox="(?P<box>[^"]+)"[^>]*>')


def to_html(document: Document) -> str:
    """The whole report as one self-contained page."""
    body = "\n".join(_block(block) for block in document.blocks)
    style = files("agentkit.report").joinpath("style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(shown(document.title))}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def inline_html(inline: Inline) -> str:
    """Inline text, escaped."""
    return "".join(_span(span) for span in inline)


def _block(block: Block) -> str:
    match block:
        case Heading(level, words):
            return f"<h{level}>{inline_html(words)}</h{level}>"
        case Paragraph(words, note):
            return f"{'<p class=note>' if note else '<p>'}{inline_html(words)}</p>"
        case Bullets(items):
            return f"<ul>{''.join(f'<li>{inline_html(item)}</li>' for item in items)}</ul>"
        case Table():
            return _table(block)
        case Picture():
            return _picture(block)
        case Page(name):
            lines = "\n".join(escape(line) for line in block.lines)
            return f"<details><summary>{escape(shown(name))}</summary><pre>{lines}</pre></details>"


def _table(table: Table) -> str:
    """A table whose cells repeat their column's name, so that a narrow screen can show each row as a card."""
    numeric = [' class="n"' if i in table.numeric else "" for i in range(len(table.columns))]
    head = "".join(
        f'<th scope="col"{n}>{escape(c)}</th>' for c, n in zip(table.columns, numeric, strict=True)
    )
    rows = "\n".join(
        "<tr>"
        + "".join(
            f'<td{n} data-label="{escape(c)}"><span>{inline_html(cell)}</span></td>'
            for c, n, cell in zip(table.columns, numeric, row, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    kind = ' class="cards"' if table.cards else ""
    return f'<div class="scroll"><table{kind}>{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'


def _picture(picture: Picture) -> str:
    return (
        f'<figure id="figure-{escape(picture.name)}"><div class="scroll">{_inline_svg(picture)}</div>'
        f"<figcaption>{inline_html(picture.caption)}</figcaption></figure>"
    )


def _inline_svg(picture: Picture) -> str:
    """The SVG without its XML head, scaling with the page, its ids made the page's own."""
    svg = picture.svg[picture.svg.index("<svg ") :].strip()
    svg = SVG_ID.sub(rf"\g<1>{picture.name}-", svg)
    box = SVG_SIZE.match(svg)
    if box is None:
        raise ValueError(f"figure {picture.name} has no viewBox")
    width = float(box["box"].split()[2]) * 4 / 3  # points to CSS pixels
    root = (
        f'<svg viewBox="{box["box"]}" role="img" aria-label="{escape(shown(picture.alt))}" '
        f'style="width:100%;max-width:{1.25 * width:.0f}px;min-width:{min(picture.min_width, int(width))}px" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return root + svg[box.end() :]


def _span(span: Span) -> str:
    words = escape(shown(span.text))
    match span.style:
        case "code":
            return f"<code>{words}</code>"
        case "strong":
            return f"<strong>{words}</strong>"
        case "faint":
            return f"<small>{words}</small>"
        case "label":
            return f'<span class="label {escape(span.text.replace(" ", "-"))}">{words}</span>'
        case _:
            return words
