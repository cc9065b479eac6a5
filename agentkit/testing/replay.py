"""A recorded session once more, without a key: the real client and SDK against a server that serves what was said.

Every request must be what the record says was sent: system text, tools, and each message in order. Tool answers
come from the ledger's own decisions, which the session's messages do not see, so each record checks the other.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from agentkit.agent.messages import restored, stored
from agentkit.agent.names import from_wire
from agentkit.errors import AgentkitError
from agentkit.ledger import Ledger
from agentkit.ledger.sessions import find_stored
from agentkit.testing.anthropic_server import AnthropicServer
from agentkit.testing.replies import Call, Reply, Usage
from agentkit.testing.wire import messages_of, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from agentkit.ledger.session import Session
    from agentkit.ledger.session_values import Message, Turn

SHOWN_CHARACTERS = 200


class ReplayError(AgentkitError):
    """A replay differs from the record; the message names the turn, the place and both values."""

    exit_code = 5


@dataclass(frozen=True)
class Replayed:
    """What was replayed, all of it equal to the record."""

    session: str
    turns: int
    calls: int
    text: str


def replay(session: Session) -> Replayed:
    """Replay every answered turn of a session through the loopback server.

    Raises:
        ReplayError: the first difference.
    """
    recorded = _Record(session)
    with AnthropicServer(recorded.answer) as server:
        from langchain_anthropic import ChatAnthropic

        model = ChatAnthropic(
            model="replay", base_url=server.url, api_key="none", max_retries=0, max_tokens=4096
        ).bind_tools([{"type": "function", "function": tool} for tool in recorded.tools])
        messages: list[BaseMessage] = []
        said: AIMessage | None = None
        for number, turn in enumerate(recorded.turns):
            messages = _next_request(recorded, number, messages, said)
            said = _asked(model, recorded.system, messages)
            if recorded.difference:
                raise ReplayError(recorded.difference)
            _compare_answer(recorded, turn, said)
            messages = [*messages, said]
    calls = sum(len(m.tool_calls) for m in messages if isinstance(m, AIMessage))
    return Replayed(session.id, len(recorded.turns), calls, "" if said is None else str(said.text))


def replay_stored(store: str | Path, session: str) -> Replayed:
    """Replay a session of a stored ledger without a key: nothing is written, no tool runs, every verdict is computed again.

    Args:
        store: path or URL of the ledger.
        session: its id, or the beginning of it.

    Raises:
        ReplayError: the first difference, with turn, place and both values (exit code 5).
        VerificationError: the ledger itself is damaged.
        LedgerError: no such session, or several.
    """
    os.environ.setdefault("LANGSMITH_TRACING", "false")  # nothing leaves this machine
    with Ledger(store, readonly=True) as ledger:
        ledger.verify()
        return replay(find_stored(ledger, session))


class _Record:
    """The answered turns of a session, and the script that serves them."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.turns = [t for t in session.turns() if t.tip is not None]
        self.tools: list[dict[str, Any]] = session.content(session.tools_sha256)
        self._whole = session.chain(session.tip())
        self._place = {hash: i for i, (hash, _) in enumerate(self._whole)}
        self._restored: dict[str, BaseMessage] = {}
        self._calls = session.calls()
        self.chains = [self._chain(t.request_tip) for t in self.turns]
        self.system = str(self.chains[0][0][1].parts["content"]) if self.chains else ""
        self.answers = {
            c["call_id"]: c["answer"]
            for c in session.campaign.decisions("call_answered")
            if c["call_id"].startswith(f"{session.id}/")
        }
        self.difference = ""
        self._served = 0

    def answer(self, request: dict[str, Any]) -> Reply:
        turn, chain = self.turns[self._served], self.chains[self._served]
        self._served += 1
        first = next(iter(_differences(turn, request, chain, self.said(chain), self.tools)), "")
        self.difference = first
        if first:
            raise ReplayError(first)
        message = self._message(turn)
        return _reply(message, turn)

    def _chain(self, tip: str | None) -> Sequence[tuple[str, Message]]:
        """Messages up to a tip: a part of the whole conversation, unless it was left aside (a reminder, a repeat)."""
        if tip in self._place:
            return self._whole[: self._place[tip] + 1]
        return self.session.chain(tip)

    def _message(self, turn: Turn) -> Message:
        return self._chain(turn.tip)[-1][1]

    def expected(self, turn: Turn) -> BaseMessage:
        return restored(self._message(turn))

    def said(self, chain: Sequence[tuple[str, Message]]) -> list[BaseMessage]:
        """A chain's messages without the system text, each made once."""
        for hash, message in chain:
            if hash not in self._restored:
                self._restored[hash] = restored(message)
        return [self._restored[hash] for hash, message in chain if message.role != "system"]

    def edited(self, call_id: str) -> dict[str, Any] | None:
        """The arguments that somebody wrote over a call's own."""
        row = self._calls.get(call_id)
        return None if row is None else row.edited


def _next_request(
    recorded: _Record, number: int, messages: list[BaseMessage], said: AIMessage | None
) -> list[BaseMessage]:
    """What is sent next: the messages so far, answers to the calls just made, and what the user then said."""
    chain = recorded.said(recorded.chains[number])
    if said is None or not said.tool_calls:
        return chain if not _continues(chain, messages) else [*messages, *chain[len(messages) :]]
    answered = [_tool_answer(recorded, call, chain) for call in said.tool_calls]
    later = [m for m in chain[len(messages) :] if isinstance(m, HumanMessage)]
    return [*messages, *answered, *later]


def _continues(chain: Sequence[BaseMessage], messages: Sequence[BaseMessage]) -> bool:
    """Whether the next request goes on with these very messages (a reminder or a repeated question does not)."""
    return len(chain) >= len(messages) and all(
        stored(a).parts == stored(b).parts for a, b in zip(messages, chain, strict=False)
    )


def _tool_answer(recorded: _Record, call: Mapping[str, Any], chain: Sequence[BaseMessage]) -> ToolMessage:
    """The ledger's answer to a call; a refusal has none there and is taken from the conversation."""
    told = next(m for m in chain if isinstance(m, ToolMessage) and m.tool_call_id == call["id"])
    answer = recorded.answers.get(f"{recorded.session.id}/{call['id']}")
    if answer is None or told.status == "error":
        return told
    if (edited := recorded.edited(str(call["id"]))) is not None:
        answer = {**answer, "edited_by_user": edited}
    return ToolMessage(json.dumps(answer, sort_keys=True), tool_call_id=call["id"], name=call["name"])


def _asked(model: Any, system: str, messages: Sequence[BaseMessage]) -> AIMessage:
    try:
        said: AIMessage = model.invoke([("system", system), *messages])
    except Exception as error:
        if "ReplayError: " in str(error):
            words = str(error).split("ReplayError: ", 1)[1].rsplit("'}", 1)[0]
            raise ReplayError(words) from None
        raise
    return said


def _differences(
    turn: Turn,
    request: Mapping[str, Any],
    chain: Sequence[tuple[str, Message]],
    said: Sequence[BaseMessage],
    tools: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    place = f"turn {turn.ordinal}"
    sent = _merged(messages_of({**request, "system": ""}))
    system = plain_text(request.get("system") or "")
    if system != (wanted := str(chain[0][1].parts["content"])):
        yield _difference(place, "system", wanted, system)
    recorded = _merged(said)
    for i, (a, b) in enumerate(zip(recorded, sent, strict=False)):
        for path, then, now in _message_differences(a, b):
            yield _difference(place, f"messages[{i}].{path}", then, now)
    if len(recorded) != len(sent):
        yield _difference(place, "messages", f"{len(recorded)} messages", f"{len(sent)} messages")
    names = [t["name"] for t in request.get("tools", [])]
    if names != (known := [t["name"] for t in tools]):
        yield _difference(place, "tools", known, names)


def _merged(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Neighbouring words of the user as one message, which is how they travel."""
    merged: list[BaseMessage] = []
    for message in messages:
        if merged and isinstance(message, HumanMessage) and isinstance(merged[-1], HumanMessage):
            merged[-1] = HumanMessage(str(merged[-1].text) + str(message.text))
        else:
            merged.append(message)
    return merged


def _message_differences(a: BaseMessage, b: BaseMessage) -> Iterator[tuple[str, Any, Any]]:
    if a.type != b.type:
        yield "role", a.type, b.type
        return
    if str(a.text) != str(b.text):
        yield "content", str(a.text), str(b.text)
    if isinstance(a, AIMessage) and isinstance(b, AIMessage):
        then, now = ([[from_wire(c["name"]), c["args"], c["id"]] for c in m.tool_calls] for m in (a, b))
        if then != now:
            yield "tool_calls", then, now
    if isinstance(a, ToolMessage) and isinstance(b, ToolMessage):
        if a.tool_call_id != b.tool_call_id:
            yield "tool_call_id", a.tool_call_id, b.tool_call_id
        if a.status != b.status:
            yield "status", a.status, b.status


def _compare_answer(recorded: _Record, turn: Turn, said: AIMessage) -> None:
    for path, then, now in _message_differences(recorded.expected(turn), said):
        raise ReplayError(_difference(f"turn {turn.ordinal}", f"answer.{path}", then, now))
    usage = said.usage_metadata or {"input_tokens": 0, "output_tokens": 0}
    counted = (usage["input_tokens"], usage["output_tokens"])
    if counted != (turn.input, turn.output):
        raise ReplayError(_difference(f"turn {turn.ordinal}", "tokens", (turn.input, turn.output), counted))


def _reply(message: Message, turn: Turn) -> Reply:
    said = restored(message)
    assert isinstance(said, AIMessage)
    calls = [Call(c["name"], c["args"], str(c["id"])) for c in said.tool_calls]
    plain = turn.input - turn.cache_read - turn.cache_write
    usage = Usage(plain, turn.output, turn.cache_read, turn.cache_write)
    return Reply(str(said.text), calls, usage, model=turn.resolved_model, stop_reason=turn.stop_reason)


def _difference(place: str, path: str, then: Any, now: Any) -> str:
    a, b = str(then), str(now)
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    cut = slice(max(0, start - 40), max(0, start - 40) + SHOWN_CHARACTERS)
    return f"{place}: {path} differs at character {start}: recorded {a[cut]!r}, now {b[cut]!r}"
