"""What the offline planner does next: a pure function of the goal and of everything answered so far.

No clock, no randomness, no store: the same history gives the same bytes on every machine, so a
conversation can be replayed, or resumed by anybody who has its messages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentkit.agent.batches import BATCH_UNITS, OpenClaim, next_step
from agentkit.agent.offline.candidates import candidates, in_direction_only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIN_UNITS, MAX_UNITS = 40, 400
SPARE = 1.3
"""Units reserved over the planned number, so that a slightly smaller effect is still found."""
SIGNATURE = "planned by the offline planner (rules and statistics, not a language model)"


@dataclass(frozen=True)
class Event:
    """One call that was answered: its name, its arguments, and the answer or the error text."""

    name: str
    args: Mapping[str, Any]
    result: Mapping[str, Any] | None
    error: str = ""


@dataclass(frozen=True)
class Action:
    """The next call."""

    name: str
    args: dict[str, Any]


@dataclass(frozen=True)
class Finish:
    """Nothing more to call: the closing words."""

    text: str


def next_action(steps: Sequence[Mapping[str, Any]], events: Sequence[Event]) -> Action | Finish:
    """Explore every step, register what they suggest, confirm in batches, report, and summarise.

    Args:
        steps: explore steps (tool, params, units, metric, sesoi), in the user's order.
        events: calls answered so far, in order.
    """
    if not steps:
        return Finish(
            "I am the offline planner: rules and statistics, not a language model. I need at least one explore "
            "step to know which tool to run; add `explore:` to the study, for example "
            '`- {tool: noise.text, params: {target: "minilm:"}}`.'
        )
    explored = [e for e in events if e.name == "explore"]
    if len(explored) < len(steps):
        step = steps[len(explored)]
        return Action(
            "explore",
            {"tool": step["tool"], "params": dict(step.get("params") or {}), "units": step.get("units", 8)},
        )
    for claim in _wanted(steps, explored):
        if (action := _towards_registration(claim, events)) is not None:
            return action
    if (step_ := next_step(_claims(events))).kind == "run_batch":
        return Action("run_batch", {"hypothesis": step_.hypothesis, "units": BATCH_UNITS})
    if step_.kind == "stop":
        return Action("stop", {"hypothesis": step_.hypothesis, "reason": step_.reason})
    reports = [e for e in events if e.name == "report"]
    return Finish(_summary(reports[-1], events)) if reports else Action("report", {})


def _wanted(steps: Sequence[Mapping[str, Any]], explored: Sequence[Event]) -> list[dict[str, Any]]:
    claims: list[dict[str, Any]] = []
    for step, event in zip(steps, explored, strict=False):
        for claim in candidates(step, event.result) if event.result else []:
            if claim not in claims:
                claims.append(claim)
    return claims


def _towards_registration(claim: Mapping[str, Any], events: Sequence[Event]) -> Action | None:
    """The dry run, then the registration, or None when both are answered (or refused).

    A claim about a size that the campaign could not see is replaced by one about its direction alone.
    """
    plan = _answered(claim, events, dry_run=True)
    if plan is None:
        return Action("register", {**claim, "dry_run": True})
    if plan.result is None:
        return None
    if _cannot_be_seen(plan.result, claim):
        return _towards_registration(in_direction_only(claim), events)
    if _answered(claim, events, dry_run=False) is not None:
        return None
    return Action("register", {**claim, "max_units": _units_to_reserve(plan.result)})


def _answered(claim: Mapping[str, Any], events: Sequence[Event], *, dry_run: bool) -> Event | None:
    for event in events:
        args = dict(event.args)
        asked_dry = bool(args.pop("dry_run", False))
        args.pop("max_units", None)
        if event.name == "register" and asked_dry == dry_run and args == dict(claim):
            return event
    return None


def _cannot_be_seen(plan: Mapping[str, Any], claim: Mapping[str, Any]) -> bool:
    smallest = plan.get("smallest_detectable_effect")
    directional = claim["direction"] in ("greater", "less") and "test" not in claim
    return directional and smallest is not None and smallest > claim["sesoi"]


def _units_to_reserve(plan: Mapping[str, Any]) -> int:
    expected = plan.get("expected_units") or MAX_UNITS
    batches = math.ceil(SPARE * float(expected) / BATCH_UNITS)
    return min(max(batches * BATCH_UNITS, MIN_UNITS), MAX_UNITS)


def _claims(events: Sequence[Event]) -> list[OpenClaim]:
    claims: dict[str, OpenClaim] = {}
    for event in events:
        answer = event.result
        if answer is None:
            continue
        if event.name == "register" and not event.args.get("dry_run"):
            args = event.args
            claims[answer["hypothesis"]] = OpenClaim(
                ref=answer["hypothesis"],
                direction=args["direction"],
                null=args.get("null", 0.0),
                sesoi=args["sesoi"],
                max_units=args["max_units"],
                units_left=args["max_units"],
            )
        elif event.name in ("run_batch", "stop"):
            ref = answer["hypothesis"]
            claims[ref] = claims[ref].after(answer, batch=event.name == "run_batch")
    return list(claims.values())


def _summary(report: Event, events: Sequence[Event]) -> str:
    rows = (report.result or {}).get("verdicts", [])
    lines = [f"{row['verdict']}: {row['sentence']}" for row in rows]
    refused = [
        f"not registered: {e.args['metric']} of {e.args['condition']}, {e.args['direction']} ({e.error})"
        for e in events
        if e.name == "register" and e.error
    ]
    failed = [
        f"not explored: {e.args['tool']} ({e.error})" for e in events if e.name == "explore" and e.error
    ]
    if not lines:
        lines = ["Nothing was registered: no condition moved the metric clearly, and none was clearly flat."]
    return "\n".join([*lines, *refused, *failed, f"({SIGNATURE})"])
