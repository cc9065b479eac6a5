"""The planner as a whole: a pure function of messages and bound tool schemas to the next call or closing words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agentkit.agent.offline import replies
from agentkit.agent.offline.conversation import current_goal, events_of
from agentkit.agent.offline.events import Action, Event, Finish
from agentkit.agent.offline.policy import from_claims_to_report, next_action, open_claims
from agentkit.agent.offline.replies import SIGNATURE
from agentkit.agent.offline.request import LEAST_UNITS, Lookup, Reply, Request, understand
from agentkit.agent.offline.schemas import read_cards
from agentkit.agent.offline.strategy import Look, next_look, table_of, telling_metric
from agentkit.agent.offline.wanted import explored_lines, wanted_claims

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from agentkit.agent.offline.cards import ToolCard
    from agentkit.agent.offline.conversation import Goal

MOST_LOOKED_UP = 20
EXPLORE_SHARE = 0.3
"""Share of the run budget that exploring may use."""


def plan(messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]]) -> Action | Finish:
    """What to do next.

    Args:
        messages: the conversation so far.
        tools: the bound tool schemas, as the provider would get them.
    """
    goal = current_goal(messages)
    cards, calls = read_cards(tools)
    names = frozenset(c.name for c in cards)
    if goal.control and goal.control[0] == "stop":
        return _stopped(goal, events_of(messages, 0, names))
    if goal.steps or not (cards or tools):
        return next_action(goal.steps, events_of(messages, goal.start, names))
    meant, goal = _understood(goal, cards)
    events = events_of(messages, goal.start, names)
    if isinstance(meant, Reply):
        return Finish(meant.text, meant.kind)
    if isinstance(meant, Lookup):
        return _looked_up(meant, events)
    if goal.control and goal.control[0] == "cheaper":
        meant = replace(meant, units=max(LEAST_UNITS, meant.units // 2))
    action = _worked(meant, events)
    if isinstance(action, Action) and action.name == "explore" and "explore" not in calls:
        args = {**action.args["params"], "units": action.args["units"]}
        return Action(action.args["tool"], args, action.text)
    return action


def _understood(goal: Goal, cards: tuple[ToolCard, ...]) -> tuple[Request | Reply | Lookup, Goal]:
    """The goal by itself; or, where that says too little and it refers back, together with the goal before."""
    if goal.control and goal.before is None and goal.parts and len(goal.parts) == 1 and not goal.parts[0]:
        return Reply(replies.refusal(cards), "refusal"), goal
    meant = understand(goal.parts, cards)
    if isinstance(meant, Reply) and goal.refers_back and goal.before is not None and not goal.before.steps:
        together = goal.joined()
        again = understand(together.parts, cards)
        if isinstance(again, Request):
            return again, together
    return meant, goal


def _worked(request: Request, events: Sequence[Event]) -> Action | Finish:
    """Explore coarse to fine, then from claims to the report."""
    looks = _looks(request, events)
    request, note = _with_metric(request, looks)
    coming = next_look(request, looks) if _may_explore(request, looks) else None
    if coming is not None:
        text = replies.plan_line(request) if not events else ""
        return Action(
            "explore", {"tool": request.card.name, "params": coming.params, "units": coming.units}, text
        )
    if looks and all(look.answer is None for look in looks):
        errors = [e.error for e in events if e.name == "explore" and e.error]
        return Finish(
            f"Nothing could be explored: {errors[0] if errors else 'no answer'}\n({SIGNATURE})", "failed"
        )
    if request.look_only or request.intent == "look":
        return Finish(_seen(request, looks))
    claims = wanted_claims(request, looks)
    if not claims and not any(e.name == "report" for e in events):
        return Finish(_nothing_promising(request, looks))
    done = from_claims_to_report(claims, events, exact=request.claim.amount is not None)
    if isinstance(done, Finish):
        seen = explored_lines(request, looks[-1:])
        return replace(done, text="\n".join([*done.text.split("\n")[:-1], *seen, *note, f"({SIGNATURE})"]))
    return done


def _with_metric(request: Request, looks: Sequence[Look]) -> tuple[Request, list[str]]:
    """The request with the metric that tells most, and a line about it where that is not the tool's first."""
    metric = telling_metric(request, looks)
    if metric == request.claim.metric:
        return request, []
    first = request.claim.metric
    measured = bool(table_of(looks[0], first))
    why = f"in which the first look showed effects far more clearly than in {first}"
    note = f"judged by {metric}, {why if measured else f'since {first} is not measured with these params'}"
    return replace(request, claim=replace(request.claim, metric=metric)), [note]


def _looks(request: Request, events: Sequence[Event]) -> list[Look]:
    return [
        Look(dict(e.args.get("params") or {}), int(e.args.get("units", 8)), e.result)
        for e in events
        if e.name == "explore" and e.args["tool"] == request.card.name
    ]


def _may_explore(request: Request, looks: Sequence[Look]) -> bool:
    """The first look is always taken; further ones within a third of the runs that the user allows."""
    runs = request.budget.get("runs")
    return not looks or runs is None or len(looks) < EXPLORE_SHARE * runs


def _seen(request: Request, looks: Sequence[Look]) -> str:
    lines = explored_lines(request, looks)
    if not lines:  # a tool that describes its target changes nothing: what it read is the answer
        metrics = (looks[-1].answer or {}).get("metrics", {}) if looks else {}
        read = [f"{name} {t['baseline']:g}" for name, t in metrics.items() if t.get("baseline") is not None]
        return "\n".join([f"{request.card.name}: {', '.join(read) or 'nothing measured'}", f"({SIGNATURE})"])
    offer = "Explored values choose and are never evidence. To test the clearest one on fresh units, say: register and test it"
    return "\n".join([*lines, offer, f"({SIGNATURE})"])


def _nothing_promising(request: Request, looks: Sequence[Look]) -> str:
    lines = explored_lines(request, looks)
    said = (
        f"Nothing was registered: no condition moved {request.claim.metric} clearly, and none was clearly flat. "
        "More units, or a stronger perturbation, would tell; to test that it does not matter, say that it is unchanged."
    )
    return "\n".join([said, *lines, f"({SIGNATURE})"])


def _stopped(goal: Goal, events: Sequence[Event]) -> Action | Finish:
    """Close the open claims of this conversation (or the one that is named); the ledger computes their verdicts."""
    asked = goal.control[1] if goal.control else None
    claims = open_claims(events)
    still_open = [c for c in claims if not c.closed and asked in (None, c.ref)]
    if still_open:
        return Action("stop", {"hypothesis": still_open[0].ref, "reason": "stopped by the user"})
    closed = ", ".join(c.ref for c in claims if c.closed)
    return Finish(f"Stopped. Closed claims: {closed}." if closed else "Stopped. No claim was open.")


def _looked_up(lookup: Lookup, events: Sequence[Event]) -> Action | Finish:
    """Answer a question about the record from `status` alone."""
    answered = [e for e in events if e.name == "status"]
    for args in _needed(lookup, answered):
        if not any(dict(e.args) == args for e in answered):
            return Action("status", args)
    lines: list[str] = []
    for event in answered:
        lines += replies.status_lines(event.result) if event.result is not None else [event.error]
    return Finish("\n".join(lines), "answer")


def _needed(lookup: Lookup, answered: Sequence[Event]) -> list[dict[str, Any]]:
    if lookup.what == "hypothesis":
        return [{"what": "campaign"}, {"what": "hypothesis", "id": lookup.id}]
    if lookup.what != "report":
        return [{"what": lookup.what}]
    campaign = next((e.result for e in answered if e.args.get("what") == "campaign"), None)
    refs = [h["hypothesis"] for h in (campaign or {}).get("hypotheses", ())][:MOST_LOOKED_UP]
    return [{"what": "campaign"}, *({"what": "hypothesis", "id": r} for r in refs)]
