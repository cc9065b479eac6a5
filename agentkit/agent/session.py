"""One planner at work on one campaign: it speaks, calls, waits for approval, and goes on in any process."""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.types import Command

from agentkit.agent.approvals import Approval, ApprovalRequest, binding, may_ask, mode
from agentkit.agent.fallback import ModelFallback
from agentkit.agent.graph import langchain_tools
from agentkit.agent.messages import Chain, clean, restored
from agentkit.agent.names import from_wire
from agentkit.agent.prices import Prices, load_prices
from agentkit.agent.recorder import Recorder
from agentkit.agent.turns import TurnLedger, model_name
from agentkit.errors import AgentkitError, ApprovalError, ConfigError, PlannerError
from agentkit.ledger.sessions import Session, open_session
from agentkit.study import ApprovalSection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.language_models import BaseChatModel
    from langchain_core.tools import BaseTool

    from agentkit.agent.toolbox import Toolbox

MOST_TURNS = 2000
"""Model turns in one goal; a loop that long is a fault, not a plan."""
SYSTEM, HUMAN, AI, TOOL = "system", "human", "ai", "tool"


@dataclass(frozen=True)
class Options:
    """How a session is led.

    Args:
        planner: the name under which the model is recorded.
        prompt: `name@version` and hash of the system prompt's template.
        policy: which calls run by themselves.
        approve: gives somebody's word on a call; without it a call that must be asked about ends with exit code 4.
        fallbacks: models that are asked, in order, when the planner's own fails for good.
        prices: what models cost.
        accept_changes: go on with a session although tools, prompt or versions have changed since.
        on_text: receives the model's words as they come.
    """

    planner: str = "offline"
    prompt: tuple[str, str] = ("none", "none")
    policy: ApprovalSection = field(default_factory=ApprovalSection)
    approve: Callable[[ApprovalRequest], Approval] | None = None
    fallbacks: Sequence[BaseChatModel] = ()
    prices: Prices | None = None
    accept_changes: bool = False
    on_text: Callable[[str], None] | None = None


class PlannerSession:
    """A recorded conversation between a user and a planner that works through one toolbox.

    Its id is the toolbox's session. When the ledger holds that session already, this one goes on with it.

    Raises:
        ConfigError: tools, prompt or versions differ from those of the record; or usd is capped and a model has no price.
    """

    def __init__(
        self, model: BaseChatModel, toolbox: Toolbox, system_prompt: str, options: Options | None = None
    ) -> None:
        os.environ.setdefault(
            "LANGSMITH_TRACING", "false"
        )  # nothing leaves this machine unless the user says so
        self.options = options or Options()
        self._toolbox, self._system = toolbox, system_prompt
        self._tools = langchain_tools(toolbox)
        self._prices = self.options.prices or load_prices()
        self.account = toolbox.account
        _refuse_unknown_prices(self._prices, [model, *self.options.fallbacks], self.account.budget.usd)
        self.record = self._open()
        self.account.carry(self.record.spent())
        self._chain = Chain()
        self._turns = TurnLedger(self.record, self._chain, self.account, self._prices)
        self._agent: Any = create_agent(
            model,
            self._tools,
            system_prompt=system_prompt,
            middleware=self._middleware(model),
            checkpointer=InMemorySaver(),
        )

    @property
    def id(self) -> str:
        """What `resume`, `fork` and `replay` take."""
        return self.record.id

    # ---- talking

    def send(self, text: str) -> str:
        """Say something and let the planner work until it answers without calling a tool; returns its words.

        Calls that an interruption left open are answered first: from the record where they had ended, else as cancelled.

        Raises:
            BudgetError, ApprovalError, LoopError, PlannerError: why it stopped; the session can go on.
        """
        messages = self.messages()
        return self._drive([*messages, *self._close_open_calls(messages), HumanMessage(text)])

    def resume(self) -> str:
        """Go on where the record ends: run what was decided, ask about what was not, or just repeat the last words."""
        messages = self.messages()
        if not messages:
            raise ConfigError(f"session {self.id} has nothing to go on with; say something first")
        last = messages[-1]
        if isinstance(last, AIMessage) and not last.tool_calls:
            return str(last.text)
        return self._drive(messages)

    def messages(self) -> list[BaseMessage]:
        """The conversation so far, as it is recorded, without the system text."""
        chain = self.record.chain(self.record.tip())
        return [restored(message) for _, message in chain if message.role != SYSTEM]

    def fork(self, id: str | None = None, *, turn: int | None = None) -> Session:
        """A new session that shares the past up to the answer of `turn` (the newest unless said), and one row."""
        turns = [t for t in self.record.turns() if t.tip is not None]
        known = {t.ordinal: t for t in turns}
        if turn is not None and turn not in known:
            raise ConfigError(f"session {self.id} has no answered turn {turn}; it has {sorted(known)}")
        tip = (known[turn] if turn is not None else turns[-1]).tip if turns else None
        return self._row(id or new_session_id(), parent=self.record if tip else None, parent_tip=tip)

    # ---- inside

    def _middleware(self, model: BaseChatModel) -> list[Any]:
        layers: list[Any] = []
        if self.options.fallbacks:
            layers.append(ModelFallback(*self.options.fallbacks))
        if any(m._llm_type == "anthropic-chat" for m in (model, *self.options.fallbacks)):
            from langchain_anthropic.middleware import AnthropicPromptCachingMiddleware

            layers.append(AnthropicPromptCachingMiddleware(unsupported_model_behavior="ignore"))
        policy = self.options.policy
        layers += [self._turns, Recorder(self.record, self._toolbox, self.account, policy, self._turns)]
        if may_ask(policy):
            gate = {
                "allowed_decisions": ["approve", "edit", "reject"],
                "when": lambda request: self._is_gated(request.tool_call),
            }
            gates: dict[str, Any] = dict.fromkeys((t.name for t in self._tools), gate)
            layers.append(HumanInTheLoopMiddleware(gates, edit_notice=None))
        return layers

    def _drive(self, messages: Sequence[BaseMessage]) -> str:
        thread = secrets.token_hex(8)
        config = {"configurable": {"thread_id": thread}, "recursion_limit": 4 * MOST_TURNS}
        asked: Any = {"messages": list(messages)}
        last = messages[-1]
        if isinstance(last, AIMessage):  # decided or waiting calls: start behind the model
            self._agent.update_state(config, asked, as_node="model")
            asked = None
        try:
            while True:
                self._step(asked, config)
                waiting = self._agent.get_state(config).interrupts
                if not waiting:
                    break
                asked = Command(resume={"decisions": self._decide(config)})
        except GraphRecursionError:
            raise PlannerError(
                f"the planner did not end within {MOST_TURNS} turns; what it did is recorded"
            ) from None
        except AgentkitError:
            raise
        except Exception as error:
            if _is_of_provider(error):
                raise PlannerError(f"planner {self.options.planner!r} failed: {_said(error)}") from error
            raise
        finally:
            said = self._agent.get_state(config).values.get("messages") or []
            self._agent.checkpointer.delete_thread(thread)
        answers = [m for m in said if isinstance(m, AIMessage)]
        return str(answers[-1].text)

    def _step(self, asked: Any, config: Any) -> None:
        """Run until the planner ends or somebody must be asked."""
        if self.options.on_text is None:
            self._agent.invoke(asked, config, durability="exit")
            return
        stream: Any = self._agent.stream(asked, config, stream_mode="messages", durability="exit")
        for piece, _ in stream:
            if isinstance(piece, AIMessage) and (text := str(piece.text)):
                self.options.on_text(text)

    def _is_gated(self, call: Any) -> bool:
        return mode(self.options.policy, self._toolbox, from_wire(call["name"]), call["args"]) == "ask"

    def _decide(self, config: Any) -> list[dict[str, Any]]:
        """Decisions on the calls that wait, in their order; each is on the record before anything runs."""
        said = self._agent.get_state(config).values["messages"]
        calls = next(m for m in reversed(said) if isinstance(m, AIMessage)).tool_calls
        known = self.record.calls()
        gated = [c for c in calls if self._is_gated(c)]
        for call in gated:
            if call["id"] not in known:
                self._ask(str(call["id"]), from_wire(call["name"]), call["args"])
        known = self.record.calls()
        return [_decision(call["name"], known[str(call["id"])]) for call in gated]

    def _ask(self, id: str, name: str, args: dict[str, Any]) -> None:
        request = ApprovalRequest(id, name, args, binding(self._toolbox, name, args))
        if self.options.approve is None:
            raise ApprovalError(
                f"{name} {json.dumps(clean(args), sort_keys=True)[:200]} waits for approval and nobody can give it; "
                f"resume session {self.id} where somebody can, or set approve.{name if '.' not in name else 'explore'}: auto"
            )
        word = self.options.approve(request)
        edited = dict(word.args) if word.kind == "edit" else None
        sha256 = request.sha256 if edited is None else binding(self._toolbox, name, edited)
        decision = {"approve": "approved", "edit": "edited", "reject": "rejected"}[word.kind]
        call = self.record.begin_call(
            id,
            name,
            clean(args),
            sha256,
            turn=self._turns.turn,
            decision=decision,
            edited=None if edited is None else clean(edited),
            decided_by=word.by,
            reason=word.reason,
        )
        if word.kind == "reject":
            self.record.end_call(call, "cancelled", "")

    def _close_open_calls(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """An answer to every call that the last message left open: providers refuse a history without them."""
        last = messages[-1] if messages else None
        if not isinstance(last, AIMessage):
            return []
        known = self.record.calls()
        closed: list[BaseMessage] = []
        for call in last.tool_calls:
            row = known.get(str(call["id"]))
            answered = self._toolbox.answered(str(call["id"]))
            if answered is not None:
                content, status = json.dumps(answered, sort_keys=True), "success"
            else:
                content, status = "cancelled by the user; not run to its end", "error"
            if row is not None and row.status is None:
                self.record.end_call(row.id, "ok" if answered is not None else "cancelled", "")
            closed.append(ToolMessage(content, tool_call_id=call["id"], name=call["name"], status=status))
        return closed

    def _open(self) -> Session:
        session = self._row(self._toolbox.session)
        if not self.options.accept_changes and (differences := self._differences(session)):
            raise ConfigError(
                f"session {session.id} was recorded otherwise: {'; '.join(differences)}. "
                "Start a new session, or accept the changes to go on"
            )
        return session

    def _row(self, id: str, parent: Session | None = None, parent_tip: str | None = None) -> Session:
        name, sha256 = self.options.prompt
        return open_session(
            self._toolbox.campaign,
            id,
            planner=self.options.planner,
            prompt=name,
            prompt_sha256=sha256,
            tools=[described(t) for t in self._tools],
            environment=self._environment(),
            parent=parent,
            parent_tip=parent_tip,
        )

    def _environment(self) -> dict[str, Any]:
        return {
            "plugins": {p.name: [p.distribution, p.version] for p in self._toolbox.plugins.plugins},
            "tools": {n: self._toolbox.plugins.tool(n).version for n in self._toolbox.tool_names},
        }

    def _differences(self, session: Session) -> list[str]:
        found = []
        if (session.prompt, session.prompt_sha256) != self.options.prompt:
            found.append(f"prompt {session.prompt} then, {self.options.prompt[0]} now")
        then, now = session.content(session.environment_sha256), self._environment()
        for kind in ("plugins", "tools"):
            changed = (n for n in sorted({*then[kind], *now[kind]}) if then[kind].get(n) != now[kind].get(n))
            found += [
                f"{kind[:-1]} {n}: {then[kind].get(n, 'absent')} then, {now[kind].get(n, 'absent')} now"
                for n in changed
            ]
        if not found and session.content(session.tools_sha256) != [described(t) for t in self._tools]:
            found.append("the tools' descriptions have changed")
        return found


def described(tool: BaseTool) -> dict[str, Any]:
    """What a planner is told about a tool."""
    schema = tool.args_schema if isinstance(tool.args_schema, dict) else {}
    return {"name": tool.name, "description": tool.description, "parameters": clean(schema)}


def new_session_id() -> str:
    """An id that sorts by time: 26 characters of base 32."""
    digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return "".join(digits[(number >> 5 * i) & 31] for i in reversed(range(26)))


def _decision(wire_name: str, row: Any) -> dict[str, Any]:
    if row.decision == "edited":
        return {"type": "edit", "edited_action": {"name": wire_name, "args": row.edited}}
    if row.decision == "rejected":
        return {"type": "reject", "message": row.reason or "the user rejected this call"}
    return {"type": "approve"}


def _refuse_unknown_prices(prices: Prices, models: Sequence[BaseChatModel], cap: float | None) -> None:
    if cap is None:
        return
    for name in map(model_name, models):
        if prices.of(name) is None:
            raise ConfigError(
                f"budget.usd is {cap:g}, but what {name} costs is not known (prices of {prices.as_of}); "
                "give its price in USD per million tokens (input,output), or drop the cap"
            )


def _is_of_provider(error: Exception) -> bool:
    return type(error).__module__.split(".")[0] in (
        "anthropic",
        "openai",
        "httpx",
        "httpx2",
        "json",
        "langchain_anthropic",
    )


def _said(error: Exception) -> str:
    status = getattr(error, "status_code", None)
    return f"{f'HTTP {status}, ' if status else ''}{type(error).__name__}: {str(error)[:200]}"
