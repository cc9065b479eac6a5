"""Each question to a model: paid for in advance, written down before it is sent and after it is answered."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware.types import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, HumanMessage

from agentkit.agent.messages import stored
from agentkit.agent.prices import Tokens
from agentkit.errors import LoopError
from agentkit.ledger.session_values import TurnEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.language_models import BaseChatModel

    from agentkit.agent.budget import Account, Reservation
    from agentkit.agent.messages import Chain
    from agentkit.agent.prices import Price, Prices
    from agentkit.ledger.session import Session

CHARACTERS_A_TOKEN = 3
"""For the estimate before the first answer; fewer than usual, so that the estimate is rather too high."""
ASKED_AGAIN = 2
"""Times that one question is sent when the answer breaks off; what comes whole is the SDK's to repeat."""
REMINDERS = {
    "empty": "Your last answer was empty. Call a tool, or end with a summary.",
    "cut": "Your last answer was cut off at its token limit. Answer again, shorter.",
}


class TurnLedger(AgentMiddleware[Any, Any, Any]):
    """Gate, record and price of every attempt at an answer.

    Args:
        session: where turns are written.
        chain: names the messages that are sent.
        account: usd and tokens are set aside before a question is sent.
        prices: what models cost; an unknown model has unknown cost.
    """

    def __init__(self, session: Session, chain: Chain, account: Account, prices: Prices) -> None:
        super().__init__()
        self._session, self._chain, self._account, self._prices = session, chain, account, prices
        self._last_total = next((t.input + t.output for t in reversed(session.turns()) if t.tip), 0)
        self.turn: int | None = None
        """The newest turn that was answered: what its tool calls belong to."""

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Ask; remind once of an empty or cut answer.

        Raises:
            BudgetError: usd or tokens would pass their cap; nothing is sent.
            LoopError: empty or cut again.
        """
        response = self._answer(request, handler)
        fault = _fault(_message(response))
        if fault:
            reminder = HumanMessage(REMINDERS[fault])
            response = self._answer(request.override(messages=[*request.messages, reminder]), handler)
        if fault and (again := _fault(_message(response))):
            raise LoopError(
                f"the model's answer was {again} twice; it was reminded once. What it did is recorded"
            )
        return response

    def _answer(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        for attempt in range(1, ASKED_AGAIN + 1):
            try:
                return self._attempt(request, handler)
            except Exception as error:
                if attempt == ASKED_AGAIN or not _broke_off(error):
                    raise
        raise AssertionError("the loop returns or raises")

    def _attempt(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        model = model_name(request.model)
        price = self._prices.of(model)
        reservation = self._reserve(request, price)
        chain = self._chain.of(request.system_prompt or "", request.messages)
        turn = self._session.begin_turn(chain, model)
        began = time.perf_counter()
        try:
            response = handler(request)
        except BaseException as error:
            reservation.settle(model)
            end = TurnEnd(latency_ms=_ms(began), error=f"{type(error).__name__}: {error}")
            self._session.end_turn(turn, chain[-1][0], end, [])
            raise
        end = self._end(_message(response), price, _ms(began))
        self._settle(reservation, model, end)
        self._session.end_turn(turn, chain[-1][0], end, self._account.take_unrecorded())
        self.turn = turn
        return response

    def _reserve(self, request: ModelRequest[Any], price: Price | None) -> Reservation:
        if price is not None and not (price.input or price.output):
            return self._account.reserve()
        likely = (
            self._last_total
            or len(json.dumps([str(m.content) for m in request.messages])) // CHARACTERS_A_TOKEN
        )
        most = int(getattr(request.model, "max_tokens", None) or 0)
        usd = 0.0 if price is None else price.usd(Tokens(likely, most))
        return self._account.reserve(tokens=likely + most, usd=usd)

    def _end(self, message: AIMessage, price: Price | None, latency_ms: float) -> TurnEnd:
        tokens = tokens_of(message)
        metadata = message.response_metadata
        return TurnEnd(
            answer=stored(message),
            resolved_model=str(metadata.get("model_name") or ""),
            **vars(tokens),
            usd=None if price is None else price.usd(tokens),
            latency_ms=latency_ms,
            stop_reason=str(metadata.get("stop_reason") or ""),
        )

    def _settle(self, reservation: Reservation, model: str, end: TurnEnd) -> None:
        total = end.input + end.output
        self._last_total = total
        reservation.settle(model, tokens=total, usd=end.usd or 0.0)
        if not end.input and reservation.estimate.get("tokens"):
            self._account.close("usd", f"{model} reports no input tokens, so its cost cannot be known")


def model_name(model: BaseChatModel) -> str:
    """What the price file and the record call a model."""
    named = getattr(model, "model", None) or getattr(model, "model_name", None)
    return str(named) if isinstance(named, str) else type(model).__name__


def tokens_of(message: AIMessage) -> Tokens:
    """Tokens that the provider reported; its count of cache writes may be split by how long they are kept."""
    usage = message.usage_metadata
    if usage is None:
        return Tokens()
    details: dict[str, Any] = dict(usage.get("input_token_details") or {})
    split = sum(int(v or 0) for k, v in details.items() if k.startswith("ephemeral_"))
    written = int(details.get("cache_creation") or 0) or split
    return Tokens(usage["input_tokens"], usage["output_tokens"], int(details.get("cache_read") or 0), written)


def _message(response: ModelResponse[Any]) -> AIMessage:
    return next(m for m in reversed(response.result) if isinstance(m, AIMessage))


def _fault(message: AIMessage) -> str:
    """`empty`, `cut`, or "" for an answer that says or calls something."""
    if message.response_metadata.get("stop_reason") == "max_tokens":
        return "cut"
    said = str(message.text).strip() or message.tool_calls or message.invalid_tool_calls
    return "" if said or message.response_metadata.get("stop_reason") == "refusal" else "empty"


def _broke_off(error: Exception) -> bool:
    """Whether an answer began and did not end well: a cut stream, or bytes that are not JSON."""
    return isinstance(error, json.JSONDecodeError) or type(error).__name__ == "RemoteProtocolError"


def _ms(began: float) -> float:
    return (time.perf_counter() - began) * 1000
