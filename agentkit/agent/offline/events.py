"""What the planner reads and what it returns: answered calls, the next call, the closing words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Event:
    """One call that was answered: its name, its arguments, and the answer or the error text."""

    name: str
    args: Mapping[str, Any]
    result: Mapping[str, Any] | None
    error: str = ""


@dataclass(frozen=True)
class Action:
    """The next call, and what is said with it."""

    name: str
    args: dict[str, Any]
    text: str = ""


@dataclass(frozen=True)
class Finish:
    """Nothing more to call: the closing words, and whether they are a question, a refusal or an end."""

    text: str
    kind: str = "end"
