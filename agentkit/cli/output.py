"""Printing: results to stdout (text or JSON), everything else to stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def emit(data: Any, text: str, *, as_json: bool) -> None:
    """The result of a command, once: JSON for programs or text for people."""
    print(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, default=str) if as_json else text)


def say(line: str) -> None:
    """One line about what is going on."""
    print(line, file=sys.stderr, flush=True)


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Plain columns, left-aligned, readable in a pipe."""
    lines = [header, *rows]
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
