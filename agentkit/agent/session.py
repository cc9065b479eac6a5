"""One planner at work on one campaign: it speaks, calls, waits for approval, and goes on in any process."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.types import Command

from agentkit.agent.approvals import Approval, ApprovalRequest, binding, may_ask, mode
from agentkit.agent.calls import CANCELLED
from agentkit.agent.fallback import ModelFallback
from agentkit.agent.graph import langchain_tools
from agentkit.agent.messages import Chain, restored
from agentkit.agent.names import from_wire
from agentkit.agent.opening import Opening, new_session_id
from agentkit.agent.prices import Prices, load_prices
from agentkit.agent.provider_errors import in_words, is_of_provider
from agentkit.agent.recorder import CallSeen, Recorder
from agentkit.agent.shortlist import Shortlist
from agentkit.agent.streaming import Words
from agentkit.agent.turns import TurnLedger, model_name
from agentkit.canon import clean
from agentkit.errors import AgentkitError, ApprovalError, ConfigError, PlannerError
from agentkit.study import ApprovalSection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.language_models import BaseChatModel

    from agentkit.agent.toolbox import Toolbox
    from agentkit.ledger.session import Session

MOST_TURNS = 2000
"""Model turns in one goal; a loop that long is a fault, not a plan."""
SYSTEM, HUMAN, AI, TOOL = "system", "human", "ai", "tool"
LEFT = "turn_left"
"""Kind of the note that a turn with open calls was ended on purpose."""


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
        on_call: sees every call before it runs and after it is answered; from any thread.
    """

    planner: str = "offline"
    prompt: tuple[str, str] = ("none", "none")
    policy: ApprovalSection = field(default_factory=ApprovalSection)
    approve: Callable[[ApprovalRequest], Approval] | None = None
    fallbacks: Sequence[BaseChatModel] = ()
    prices: Prices | None = None
    accept_changes: bool = False
    on_text: Callable[[str], None] | None = None
    on_call: Callable[[CallSeen], None] = lambda seen: None


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
        self._opening = Opening(toolbox, self._tools, self.options.planner, self.options.prompt)
        self.record = self._opening.opened(accept_changes=self.options.accept_changes)
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

    @property
    def toolbox(self) -> Toolbox:
        """What its planner works through."""
        return self._toolbox

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
        return self._opening.row(id or new_session_id(), parent=self.record if tip else None, parent_tip=tip)

    def undone(self) -> Session:
        """A new session that ends before the user's last words; what was recorded stays."""
        chain = self.record.chain(self.record.tip())
        said = [i for i, (_, message) in enumerate(chain) if message.role == HUMAN]
        if not said:
            raise ConfigError(f"session {self.id} has nothing to undo; nothing was said")
        before = chain[said[-1] - 1] if said[-1] else None
        tip = before[0] if before is not None and before[1].role != SYSTEM else None
        return self._opening.row(new_session_id(), parent=self.record if tip else None, parent_tip=tip)

    def was_cut_off(self) -> bool:
        """Whether its process died in the middle of something, so that `resume` has work to do.

        A turn that failed, or that the user ended, is over: it is not gone on with of its own accord.
        """
        turns = self.record.turns()
        if not turns:
            return False
        last = turns[-1]
        if not last.ended:
            return True
        answer = self.messages()[-1] if last.tip else None
        if not isinstance(answer, AIMessage):
            return False
        if self._newest_turn() in self._toolbox.campaign.decisions(LEFT):
            return False
        known = self.record.calls()
        asked = (str(c["id"]) for c in answer.tool_calls)
        return any(call not in known or known[call].status is None for call in asked)

    def leave(self) -> None:
        """Note that the turn was ended on purpose, so that open calls do not count as cut off; `resume` still can."""
        messages = self.messages()
        if messages and isinstance(messages[-1], AIMessage) and messages[-1].tool_calls:
            self._toolbox.campaign.decide("framework", LEFT, self._newest_turn())

    def _newest_turn(self) -> dict[str, Any]:
        return {"session": self.id, "turn": self.record.turns()[-1].ordinal}

    # ---- inside

    def _middleware(self, model: BaseChatModel) -> list[Any]:
        layers: list[Any] = []
        if self.options.fallbacks:
            layers.append(ModelFallback(*self.options.fallbacks))
        layers.append(Shortlist(self._toolbox))  # around the caching, which marks the last tool that is shown
        if any(m._llm_type == "anthropic-chat" for m in (model, *self.options.fallbacks)):
            from langchain_anthropic.middleware import AnthropicPromptCachingMiddleware

            layers.append(AnthropicPromptCachingMiddleware(unsupported_model_behavior="ignore"))
        policy = self.options.policy
        layers += [self._turns, self._recorder()]
        if may_ask(policy):
            gate = {
                "allowed_decisions": ["approve", "edit", "reject"],
                "when": lambda request: self._is_gated(request.tool_call),
            }
            gates: dict[str, Any] = dict.fromkeys((t.name for t in self._tools), gate)
            layers.append(HumanInTheLoopMiddleware(gates, edit_notice=None))
        return layers

    def _recorder(self) -> Recorder:
        policy, on_call = self.options.policy, self.options.on_call
        return Recorder(self.record, self._toolbox, self.account, policy, self._turns, on_call)

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
            if is_of_provider(error):
                raise PlannerError(in_words(self.options.planner, error)) from error
            raise
        finally:
            said = self._agent.get_state(config).values.get("messages") or []
            self._agent.checkpointer.delete_thread(thread)
        answers = [m for m in said if isinstance(m, AIMessage)]
        return str(answers[-1].text)

    def _step(self, asked: Any, config: Any) -> None:
        """Run until the planner ends or somebody must be asked."""
        words = [] if self.options.on_text is None else [Words(self.options.on_text)]
        self._agent.invoke(asked, {**config, "callbacks": words}, durability="exit")

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
                content, status = f"{CANCELLED}; not run to its end", "error"
            if row is not None and row.status is None:
                self.record.end_call(row.id, "ok" if answered is not None else "cancelled", "")
            closed.append(ToolMessage(content, tool_call_id=call["id"], name=call["name"], status=status))
        return closed


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
