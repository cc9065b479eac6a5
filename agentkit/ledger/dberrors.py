"""Database errors as ours: a refused rule keeps its code, everything else says what to do next."""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import exc

from agentkit.errors import LedgerError, RuleViolation

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Database errors as ours: a refused rule keeps its code, everything else says what to do."""
    try:
        yield
    except exc.DBAPIError as error:
        raise _translate(place, error) from error
    except sqlite3.Error as error:
        raise _translate_sqlite(place, error) from error


def _translate(place: str, error: exc.DBAPIError) -> LedgerError:
    original = error.orig
    code = getattr(original, "sqlstate", None)
    if isinstance(code, str) and code.startswith("AK"):
        diagnostic = getattr(original, "diag", None)
        return RuleViolation(code, getattr(diagnostic, "message_primary", None) or str(original))
    if isinstance(original, sqlite3.Error):
        return _translate_sqlite(place, original)
    return LedgerError(f"{place}: {str(original).strip()}")


_SQLITE_ADVICE = (
    ("file is not a database", "this is not an agentkit ledger; name another file"),
    ("malformed", "the file is damaged; restore a copy, then run agentkit verify on it"),
    ("disk i/o error", "the disk failed; nothing of this step was kept"),
    ("full", "the disk or quota is full; nothing of this step was kept: free some space and go on"),
    ("locked", "another process held the store too long; nothing of this step was kept: try again"),
    ("unable to open", "the file or its folder cannot be opened; check that it exists and may be written"),
    ("readonly", "the file may not be written; check its permissions"),
)


def _translate_sqlite(place: str, error: sqlite3.Error) -> LedgerError:
    text = str(error)
    if match := re.match(r"(AK\d{3}): (.*)", text):
        return RuleViolation(match[1], match[2])
    advice = next((a for key, a in _SQLITE_ADVICE if key in text.lower()), "nothing of this step was kept")
    return LedgerError(f"{place}: {text}; {advice}")
