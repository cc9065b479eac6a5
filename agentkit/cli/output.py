"""Printing: results to stdout (text or JSON), everything else to stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from agentkit.errors import AgentkitError

if TYPE_CHECKING:
    from collections.abc import Sequence


def emit(data: Any, text: str, *, as_json: bool) -> None:
    """The result of a command, once: JSON for programs or text for people."""
    shown = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, default=str) if as_json else text
    try:
        print(shown, flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        raise
    except OSError as error:
        raise AgentkitError(f"the result cannot be written to stdout: {error.strerror}") from None


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
