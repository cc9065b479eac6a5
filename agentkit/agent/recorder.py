"""Each tool call: written down before it runs and after, kept from looping, its failures told to the planner."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from langchain.agents.middleware.types import AgentMiddleware
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.errors import GraphBubbleUp

from agentkit.agent.approvals import binding, mode
from agentkit.agent.names import from_wire
from agentkit.canon import canonical_json, clean
from agentkit.errors import BudgetError, LoopError, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain.agents.middleware.types import ToolCallRequest

    from agentkit.agent.budget import Account
    from agentkit.agent.toolbox import Toolbox
    from agentkit.agent.turns import TurnLedger
    from agentkit.ledger.session import Session
    from agentkit.ledger.session_values import ToolCall
    from agentkit.study import ApprovalSection

ERROR_CHARACTERS = 300
SAME_ANSWERS = 2
"""How often one call may give one answer; the next is a reminder, and the one after that ends the session."""
REMINDER = "not run: this very call gave this very answer {n} times. Change something, or end with a summary."


@dataclass(frozen=True)
class CallSeen:
    """A call as whoever watches sees it: `began`, then `answered` (with the answer) or `failed` (with the words)."""

    what: Literal["began", "answered", "failed"]
    id: str
    name: str
    args: dict[str, Any]
    answer: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0


class Recorder(AgentMiddleware[Any, Any, Any]):
    """Keeps the record of tool calls and turns whatever a tool raises into a message."""

    def __init__(
        self,
        session: Session,
        toolbox: Toolbox,
        account: Account,
        policy: ApprovalSection,
        turns: TurnLedger,
        on_call: Callable[[CallSeen], None] = lambda seen: None,
    ) -> None:
        super().__init__()
        self._on_call = on_call
        self._session, self._toolbox, self._account = session, toolbox, account
        self._policy, self._turns = policy, turns
        self._lock = threading.Lock()

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """Run one call of a turn; calls of one turn arrive in parallel threads.

        Raises:
            BudgetError: a cap is reached; the planner cannot mend it.
            LoopError: the same call again, after a reminder.
        """
        call = request.tool_call
        name, args, id = from_wire(call["name"]), call["args"], str(call["id"])
        policy = mode(self._policy, self._toolbox, name, args)
        decided = self._session.calls().get(id) if policy == "ask" else None
        runs = args if decided is None or decided.edited is None else decided.edited
        sha256 = binding(self._toolbox, name, runs) if policy == "ask" else _args_sha256(name, args)
        begin = partial(
            self._session.begin_call,
            id,
            name,
            clean(args),
            sha256,
            turn=self._turns.turn,
            decision="auto" if policy == "auto" else "rejected",
            reason="" if policy == "auto" else f"approval policy: {policy}",
        )
        # the toolbox writes an automatic call down before it starts; this row then joins the one of its end
        row = begin if policy == "auto" else begin()
        began = time.perf_counter()
        if refused := _refused(policy, name, decided, sha256):
            return self._ended(row, began, _error(call, refused))
        if self._loops(request.state, name, args):
            return self._ended(row, began, _error(call, REMINDER.format(n=SAME_ANSWERS)))
        self._on_call(CallSeen("began", id, name, clean(runs)))
        message = self._run(request, handler)
        self._on_call(_seen(id, name, clean(runs), message, time.perf_counter() - began))
        if decided is not None and decided.edited is not None:
            message = _with_edit(message, decided.edited)
        return self._ended(row, began, message)

    def _run(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        try:
            return handler(request)
        except (GraphBubbleUp, BudgetError, StoppedError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a tool raises must not end the conversation
            return _error(request.tool_call, f"{type(error).__name__}: {error}")

    def _ended(self, row: int | Callable[[], int], began: float, message: Any) -> Any:
        if isinstance(message, ToolMessage):
            with self._lock, self._session.one_write():
                self._session.end_call(
                    row() if callable(row) else row,
                    "error" if message.status == "error" else "ok",
                    hashlib.sha256(str(message.content).encode()).hexdigest(),
                    run=_run_of(message),
                    latency_ms=(time.perf_counter() - began) * 1000,
                    spent=self._account.take_unrecorded(),
                )
        return message

    def _loops(self, state: Any, name: str, args: dict[str, Any]) -> bool:
        answers = same_calls(state["messages"], name, args)
        if any(a.startswith(REMINDER[:24]) for a in answers):
            raise LoopError(f"the planner calls {name} again and again with one answer; it was reminded once")
        return len(answers) >= SAME_ANSWERS and len(set(answers[-SAME_ANSWERS:])) == 1


def _refused(policy: str, name: str, decided: ToolCall | None, sha256: str) -> str:
    """Why a call may not run, or "": it is denied, nobody has approved it, or it is not what was approved."""
    if policy == "auto":
        return ""
    if policy == "deny":
        return f"{name} is not allowed by the approval policy"
    if decided is None or decided.decision not in ("approved", "edited"):
        return f"{name} was not approved"
    if decided.args_sha256 != sha256:
        return "what was approved has changed (tool version or target) and was not run; call it again"
    return ""


def same_calls(messages: list[Any], name: str, args: dict[str, Any]) -> list[str]:
    """Answers to earlier calls with this name and these arguments since the user last spoke, oldest first."""
    ids: set[str | None] = set()
    answers: list[str] = []
    for message in messages:
        if message.type == "human":
            ids, answers = set(), []
        elif isinstance(message, AIMessage):
            ids |= {c["id"] for c in message.tool_calls if c["args"] == args and from_wire(c["name"]) == name}
        elif isinstance(message, ToolMessage) and message.tool_call_id in ids:
            answers.append(str(message.content))
    return answers


def _with_edit(message: Any, edited: dict[str, Any]) -> Any:
    """The answer, saying which arguments it answers: the planner's message holds its own."""
    if not isinstance(message, ToolMessage) or message.status == "error":
        return message
    answer = {**json.loads(str(message.content)), "edited_by_user": edited}
    return message.model_copy(update={"content": json.dumps(answer, sort_keys=True)})


def _error(call: Any, text: str) -> ToolMessage:
    return ToolMessage(text[:ERROR_CHARACTERS], tool_call_id=call["id"], name=call["name"], status="error")


def _seen(id: str, name: str, args: dict[str, Any], message: Any, seconds: float) -> CallSeen:
    words = str(getattr(message, "content", ""))
    if getattr(message, "status", "error") == "error":
        return CallSeen("failed", id, name, args, error=words, seconds=seconds)
    try:
        answer = json.loads(words)
    except ValueError:
        answer = {}
    return CallSeen("answered", id, name, args, answer if isinstance(answer, dict) else {}, seconds=seconds)


def _run_of(message: ToolMessage) -> str | None:
    try:
        found = json.loads(str(message.content)).get("run")
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def _args_sha256(name: str, args: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json([name, clean(args)]).encode()).hexdigest()
