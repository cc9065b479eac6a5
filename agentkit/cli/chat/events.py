"""What a conversation tells, event by event; a view shows it to people or to programs."""

from __future__ import annotations

from typing import Any, Protocol

TYPES = (
    "session", "turn", "text", "tool_call", "approval", "progress", "run", "hypothesis", "verdict", "report", "budget",
    "error", "end",
)  # fmt: skip


class View(Protocol):
    """Shows events. `tell` may be called from any thread."""

    def tell(self, type: str, **data: Any) -> None:
        """One event of one of `TYPES`."""

    def show(self, text: str, data: Any) -> None:
        """The answer to a slash command: as text for people, as data for programs."""
