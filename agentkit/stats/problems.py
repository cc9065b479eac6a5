"""How this package refuses a value: always the field, the value and what is allowed."""

from __future__ import annotations

from agentkit.errors import StatsError


def refused(field: str, value: object, allowed: str) -> StatsError:
    """The error to raise for a field whose value no statistic here can be computed from."""
    return StatsError(f"{field}={value!r} is refused: allowed is {allowed}")
