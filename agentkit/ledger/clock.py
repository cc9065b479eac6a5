"""The wall clock, for people. Order is by sequence number: no rule and no verdict reads a time."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """UTC in ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
