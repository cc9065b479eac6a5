"""Which goal a conversation is at: the user's last goal, his answers to our questions, and what was called for it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from agentkit.agent.calls import CANCELLED
from agentkit.agent.names import from_wire
from agentkit.agent.offline.events import Event
from agentkit.agent.offline.intents import control_of, is_ledger_question
from agentkit.agent.offline.replies import QUESTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

STEPS_MARK = "explore steps (JSON): "
"""The line of the user's message that carries the study's own explore steps."""
ORDINALS = {"first": 0, "second": 1, "third": 2, "1": 0, "2": 1, "3": 2, "1st": 0, "2nd": 1, "3rd": 2}
ASKED_PARAM = re.compile(r" needs `(\w+)`")
ASKED_NUMBER = re.compile(r"what is ([^?]+)\?")
OFFERED = re.compile(r"^- ([\w.]+): ", re.MULTILINE)
REFERS_BACK = re.compile(
    r"\b(?:it|that|this|these|those|them|same|again|instead|too|also)\b|^\s*(?:and|but|now|then|with)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Goal:
    """One goal: its words, answers to questions, the study's own steps, and where its messages begin."""

    parts: tuple[str, ...]
    start: int
    steps: tuple[dict[str, Any], ...] = ()
    control: tuple[str, str | None] | None = None
    before: Goal | None = field(default=None, repr=False)

    @property
    def refers_back(self) -> bool:
        """Whether the words lean on the goal before: `register and test it`."""
        return self.before is not None and bool(REFERS_BACK.search(self.parts[0]))

    def joined(self) -> Goal:
        """The goal before, with this one as its last words."""
        assert self.before is not None  # noqa: S101 - asked only where it refers back
        return replace(self.before, parts=(*self.before.parts, *self.parts))


def goal_message(goal: str, steps: Sequence[dict[str, Any]]) -> str:
    """The user's message: the goal in words and, for planners that want it exactly, the study's explore steps."""
    return f"{goal}\n\n{STEPS_MARK}{json.dumps(list(steps), sort_keys=True)}" if steps else goal


def current_goal(messages: Sequence[BaseMessage]) -> Goal:
    """The goal that the last user message states, answers, or goes on with."""
    goal = Goal(("",), 0)
    said = ""
    for i, message in enumerate(messages):
        if isinstance(message, AIMessage):
            said = "" if message.tool_calls else _text(message)
        elif isinstance(message, HumanMessage):
            goal = _after(goal, _text(message), i, said)
            said = ""
    return goal


def _after(goal: Goal, text: str, index: int, said: str) -> Goal:
    before = goal if goal.parts != ("",) else None
    if STEPS_MARK in text:
        words, steps = text.split(STEPS_MARK, 1)
        return Goal((words.strip(),), index, tuple(json.loads(steps)), before=before)
    if control := control_of(text):
        return replace(goal, control=control) if before else Goal((text,), index, control=control)
    if said.startswith(QUESTION) and before is not None and not is_ledger_question(text):
        return replace(goal, parts=(*goal.parts, answer_in_words(said, text)), control=None)
    return Goal((text,), index, before=before)


def answer_in_words(question: str, answer: str) -> str:
    """An answer as it would have stood in the goal: `grn:toggle` becomes `target = grn:toggle`."""
    plain = answer.strip().rstrip(".!")
    if match := ASKED_PARAM.search(question):
        named = re.search(rf"\b{match[1]}\b", plain)
        return plain if named else f"{match[1]} = {plain}"
    if match := ASKED_NUMBER.search(question):
        return plain if re.search(r"\d", plain) else f"{plain} {match[1]}"
    offered = OFFERED.findall(question)
    word = re.search(r"\b(first|second|third|[123](?:st|nd|rd)?)\b", plain, re.IGNORECASE)
    if word and len(plain.split()) <= 4 and (at := ORDINALS[word[1].casefold()]) < len(offered):
        return str(offered[at])
    return plain


def events_of(
    messages: Sequence[BaseMessage], start: int = 0, tools: frozenset[str] = frozenset()
) -> list[Event]:
    """Answered calls from message `start` on, in order; a tool's own call is an `explore` of it."""
    calls = {c["id"]: c for m in messages[start:] if isinstance(m, AIMessage) for c in m.tool_calls}
    events = []
    for message in messages[start:]:
        if isinstance(message, ToolMessage) and (call := calls.get(message.tool_call_id)):
            name, args, text = from_wire(call["name"]), dict(call["args"]), _text(message)
            if message.status == "error" and CANCELLED in text:
                continue  # as if it had not been asked for: "continue" asks again
            if name in tools:
                params = {k: v for k, v in args.items() if k != "units"}
                name, args = "explore", {"tool": name, "params": params, "units": args.get("units", 8)}
            result = None if message.status == "error" else _json(text)
            events.append(Event(name, args, result, "" if result is not None else text))
    return events


def was_cancelled(messages: Sequence[BaseMessage]) -> bool:
    """Whether the user has just ended the last call."""
    last = messages[-1] if messages else None
    return isinstance(last, ToolMessage) and last.status == "error" and CANCELLED in _text(last)


def _json(text: str) -> dict[str, Any] | None:
    """The answer as data; an approval's notice may stand before it."""
    for start in (0, text.find("{")):
        try:
            value = json.loads(text[start:]) if start >= 0 else None
        except json.JSONDecodeError:
            continue
        if isinstance(value, dict):
            return value
    return None


def _text(message: BaseMessage) -> str:
    """The words of a message; providers may send them in blocks."""
    if isinstance(message.content, str):
        return message.content
    blocks = [b if isinstance(b, str) else str(b.get("text", "")) for b in message.content]
    return "".join(blocks)
