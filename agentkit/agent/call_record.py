"""The calls of one session as a campaign records them: before each starts, and after it is answered or has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit.errors import ParamError
from agentkit.ledger.counts import count_runs, nth_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agentkit.ledger import Campaign, Run
    from agentkit.types import Frozen

Answer = dict[str, Any]


class CallRecord:
    """What a session began, what it was answered, and what was cut off in between.

    Args:
        campaign: holds the record.
        session: prefix of this session's call ids.
    """

    def __init__(self, campaign: Campaign, session: str) -> None:
        self._campaign = campaign
        self._session = session
        self._started = {c["call_id"]: c for c in campaign.decisions("call_started")}
        self._answered = {c["call_id"]: c for c in campaign.decisions("call_answered")}
        self._cut_off: set[str] = set()

    def key(self, call_id: str) -> str:
        """The id of a call in the whole campaign."""
        return f"{self._session}/{call_id}"

    def answer(self, key: str) -> Answer | None:
        """The recorded answer of a call, or None while there is none."""
        known = self._answered.get(key)
        return None if known is None else known["answer"]

    def begin(self, key: str, name: str, request: Frozen) -> None:
        """Record that a call starts; one that was begun and not answered goes on as itself.

        Raises:
            ParamError: the id stands for a call with other arguments, for ever.
        """
        if key in self._started:
            self.refuse_other(key, name, request)
            self._cut_off.add(key)
            return
        began = {
            "call_id": key,
            "name": name,
            "args": request.model_dump(mode="json"),
            "runs_before": count_runs(self._campaign),
        }
        self._decide("call_started", began)
        self._started[key] = began

    def refuse_other(self, key: str, name: str, request: Frozen) -> None:
        """Hold a call against what its id was begun with."""
        began = self._started[key]
        if (began["name"], began["args"]) != (name, request.model_dump(mode="json")):
            raise ParamError(f"call {key} was recorded with other arguments; start a new session")

    def end(self, key: str, name: str, answer: Answer, spent: Mapping[str, Any]) -> None:
        """Record the answer of a call and what it cost."""
        content = {"call_id": key, "name": name, "answer": answer, "spent": spent}
        self._decide("call_answered", content)
        self._answered[key] = content

    def fail(self, key: str, error: BaseException, spent: Mapping[str, Any]) -> None:
        """Record what a call cost that ended in an error; one that cost nothing leaves no trace."""
        if spent:
            self._decide("call_failed", {"call_id": key, "error": type(error).__name__, "spent": spent})

    def was_cut_off(self, key: str) -> bool:
        """Whether a call was begun before and is asked again: what is done already may be its own doing."""
        return key in self._cut_off

    def first_run(self, key: str) -> Run | None:
        """The run that was begun first after a call was: its own if it had been cut off, else another call's."""
        return nth_run(self._campaign, int(self._started[key]["runs_before"]))

    def spendings(self) -> Iterator[tuple[bool, str, Mapping[str, float]]]:
        """What each call of the campaign spent: whether this session made it, the tool, amounts by currency."""
        for call in [*self._answered.values(), *self._campaign.decisions("call_failed")]:
            own = call["call_id"].startswith(self.key(""))
            for tool, amounts in call.get("spent", {}).items():
                yield own, tool, amounts

    def _decide(self, kind: str, content: Answer) -> None:
        self._campaign.decide("planner", kind, content)
