"""A request as tokens: words, numbers, ranges, and atoms that must stay whole (URIs, sites, quoted text)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from agentkit.agent.offline.words import NUMBER_WORDS, STOP, merge_phrases, pieces, stem

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

Kind = Literal["word", "number", "range", "uri", "path", "quoted", "condition", "site", "symbol", "mark"]

NUMBER = r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
PERCENT = r"(?:\s?(?:%|percent\b|per cent\b))"
TOKEN = re.compile(
    rf"""
    (?P<quoted>(?<!\w)(?:"[^"]+"|'[^']+'|`[^`]+`)(?!\w))
  | (?P<condition>(?<![\w.])[A-Z]{{2,}}:\w[\w.>@~*+:/-]*)
  | (?P<uri>(?<![\w.])[a-z][a-z0-9+-]*:(?://)?[\w./?][^\s,;'"]*)
  | (?P<scheme>(?<![\w.])[a-z][a-z0-9]+:(?=[\s,;.)?!]|$))
  | (?P<path>(?<!\w)(?:~?/?[\w.-]+/)+[\w.-]*[A-Za-z][\w.-]*|(?<!\w)[\w-]+\.(?:npz|h5ad|json|jsonl|safetensors|log|csv|tsv|txt|pt|ya?ml|bin)\b)
  | (?P<site>(?<![\w-])L\d+(?:-\d+)?(?:\.?H(?:\d+(?:-\d+)?|\*))?(?!\w)|(?<!\w)L\*\.H(?:\d+|\*))
  | (?P<name>(?<![\w-])[A-Za-z]\w*(?:-\w+)*-[A-Za-z]+\d[\w.-]*)
  | (?P<between>\bbetween\s+{NUMBER}{PERCENT}?\s+and\s+{NUMBER}{PERCENT}?)
  | (?P<range>(?<![\w.]){NUMBER}{PERCENT}?\s*(?:\.\.+|–|—|\bup\s+to\b|\bto\b|\buntil\b|\bthrough\b)\s*{NUMBER}{PERCENT}?|(?<![\w.])\d+(?:\.\d+)?-\d+(?:\.\d+)?{PERCENT}?(?![\w-]))
  | (?P<fraction>(?<![\w.])\d+/\d+(?![\w/]))
  | (?P<number>(?<![A-Za-z_\d.]){NUMBER}{PERCENT}?)
  | (?P<word>[A-Za-z_][\w']*)
  | (?P<mark>[=,;:()?!<>≥≤$])
    """,
    re.VERBOSE,
)  # fmt: skip
ONE_NUMBER = re.compile(rf"({NUMBER})({PERCENT})?")
SPAN = re.compile(
    rf"(?:between\s+)?({NUMBER})({PERCENT})?\s*(?:\.\.+|–|—|-|up\s+to|to|until|through|and)\s*({NUMBER})({PERCENT})?"
)


@dataclass(frozen=True)
class Token:
    """One piece of a request: what it is, how it was written, its stem, and its number or range."""

    kind: Kind
    text: str
    index: int
    values: tuple[float, ...] = ()
    percent: bool = False
    start: int = 0

    @property
    def stem(self) -> str:
        """The stem of a word; of anything else, its text in small letters."""
        return stem(self.text) if self.kind in ("word", "symbol") else self.text.casefold()

    @property
    def numeric(self) -> bool:
        """Whether it is a number or a range."""
        return self.kind in ("number", "range")


def normalised(text: str, names: Sequence[str] = ()) -> str:
    """NFKC, plain quotes and dashes, words that belong together joined. Case is kept: names need it.

    Args:
        text: the request.
        names: identifiers with numbers inside (`recall_at_1`) that people write in words (`recall@1`).
    """
    text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("“", '"').replace("”", '"')
    for name in names:
        parts = [re.escape(p) for p in pieces(name) if p != "at"]
        if len(parts) == 1:
            continue  # a metric `l2` must not make the site L2.H7 small
        written = r"[\s@_-]+(?:at[\s@_-]+)?".join(parts)
        text = re.sub(rf"\b{written}\b", name, text, flags=re.IGNORECASE)
    return merge_phrases(text.replace("−", "-"))


def read_tokens(text: str, schemes: frozenset[str] = frozenset()) -> list[Token]:
    """Tokens of a request, in order.

    Args:
        text: the request.
        schemes: URI schemes that the tools name; a bare `minilm:` is a URI only if known.
    """
    tokens: list[Token] = []
    for match in TOKEN.finditer(normalised(text)):
        group, written = str(match.lastgroup), match[0]
        tokens.append(replace(_token_of(group, written, len(tokens), schemes), start=match.start()))
    return tokens


def _token_of(group: str, written: str, index: int, schemes: frozenset[str]) -> Token:
    if group == "quoted":
        return Token("quoted", written[1:-1], index)
    if group == "uri":
        return Token("uri", written.rstrip(".?!):"), index)
    if group == "scheme":
        known = written[:-1] in schemes
        return Token("uri" if known else "word", written if known else written[:-1], index)
    if group in ("range", "between"):
        return _range(written, index)
    if group == "fraction":
        top, bottom = written.split("/")
        value = float(top) / float(bottom) if float(bottom) else 0.0
        return Token("number", written, index, (value,))
    if group == "number":
        return _number(written, index)
    if group in ("condition", "path", "site", "mark"):
        return Token(group, written.rstrip(".,") if group != "mark" else written, index)  # type: ignore[arg-type]
    return _word(written, index)


def _word(written: str, index: int) -> Token:
    written = re.sub(r"'s?$", "", written)
    if written.casefold() in NUMBER_WORDS:
        return Token("number", written, index, (float(NUMBER_WORDS[written.casefold()]),))
    letters = written.replace("_", "")
    named = letters.isupper() and letters.isalnum() and written != "I" and (index > 0 or len(written) > 1)
    mixed = bool(re.fullmatch(r"[A-Z][A-Za-z]*\d+\w*", written))
    return Token("symbol" if named or mixed else "word", written, index)


def _number(written: str, index: int) -> Token:
    match = ONE_NUMBER.match(written)
    assert match is not None  # noqa: S101 - the token pattern holds a number
    percent = bool(match[2])
    return Token("number", written, index, (float(match[1]),), percent)


def _range(written: str, index: int) -> Token:
    match = SPAN.match(written)
    assert match is not None  # noqa: S101 - the token pattern holds two numbers
    percent = bool(match[2] or match[4])
    return Token("range", written, index, (float(match[1]), float(match[3])), percent)


def search_words(tokens: Sequence[Token], known: Container[str] = ()) -> list[str]:
    """Stems for choosing a tool: content words, schemes of URIs, kinds of conditions; no numbers.

    Args:
        tokens: the request.
        known: words of the tools; one of them written with a capital inside (`MiniLM`) is not cut in pieces.
    """
    found: list[str] = []
    for token in tokens:
        if token.kind in ("word", "symbol") and token.text.casefold() not in STOP:
            parts = pieces(token.text)
            if len(parts) > 1:
                found.append(token.text.casefold())
                if found[-1] in known:
                    continue
            found += [stem(p) for p in parts if len(p) > 1 and not p.isdigit() and p.casefold() not in STOP]
        elif token.kind in ("uri", "condition"):
            found.append(stem(token.text.split(":")[0]))
        elif token.kind == "site":
            found += ["head"] if "H" in token.text else ["layer"]
        elif token.kind == "path":
            found += [stem(p) for p in pieces(token.text) if len(p) > 2]
    return found
