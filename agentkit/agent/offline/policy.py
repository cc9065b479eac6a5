"""What the offline planner does next: a pure function of the goal and of everything answered so far.

No clock, no randomness, no store: the same history gives the same bytes on every machine, so a
conversation can be replayed, or resumed by anybody who has its messages.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from agentkit.agent.batches import BATCH_UNITS, OpenClaim, next_step
from agentkit.agent.offline.candidates import candidates, in_direction_only
from agentkit.agent.offline.events import Action, Event, Finish
from agentkit.agent.offline.replies import SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIN_UNITS, MAX_UNITS = 40, 400
SPARE = 1.3
"""Units reserved over the planned number, so that a slightly smaller effect is still found."""


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
            "`- {tool: NAME, params: {}}`."
        )
    explored = [e for e in events if e.name == "explore"]
    if len(explored) < len(steps):
        step = steps[len(explored)]
        args = {"tool": step["tool"], "params": dict(step.get("params") or {}), "units": step.get("units", 8)}
        return Action("explore", {**args, **({"family_p": True} if step.get("family_p") else {})})
    return from_claims_to_report(_wanted(steps, explored), events, notes=_not_measured(steps, explored))


def from_claims_to_report(
    claims: Sequence[Mapping[str, Any]],
    events: Sequence[Event],
    *,
    exact: bool = False,
    notes: Sequence[str] = (),
) -> Action | Finish:
    """Register the claims, confirm them in batches, report, and summarise.

    Args:
        claims: arguments of `register`, in order.
        events: calls answered so far, in order.
        exact: keep each claim as it is, also where the campaign could not see its effect (then it is not frozen).
        notes: further lines of the summary.
    """
    edited = _edited(claims, events)
    for claim in claims:
        if _identity(claim) in edited:
            continue
        if (action := _towards_registration(claim, events, exact=exact)) is not None:
            return action
    if (step := next_step(open_claims(events))).kind == "run_batch":
        return Action("run_batch", {"hypothesis": step.hypothesis, "units": BATCH_UNITS})
    if step.kind == "stop":
        return Action("stop", {"hypothesis": step.hypothesis, "reason": step.reason})
    reports = [e for e in events if e.name == "report"]
    if not reports:
        return Action("report", {})
    summary = _summary(reports[-1], events)
    return Finish("\n".join([*summary, *_unseen(events, exact=exact), *notes, f"({SIGNATURE})"]))


def _wanted(steps: Sequence[Mapping[str, Any]], explored: Sequence[Event]) -> list[dict[str, Any]]:
    claims: list[dict[str, Any]] = []
    for step, event in zip(steps, explored, strict=False):
        for claim in candidates(step, event.result) if event.result else []:
            if claim not in claims:
                claims.append(claim)
    return claims


def _not_measured(steps: Sequence[Mapping[str, Any]], explored: Sequence[Event]) -> list[str]:
    """Metrics that a step asks for and its tool left out with the step's params."""
    return [
        f"not measured: {step['metric']} by {step['tool']} with these params; its description says what the metric needs"
        for step, event in zip(steps, explored, strict=False)
        if event.result and step.get("metric") in event.result.get("not_measured", ())
    ]


def _edited(claims: Sequence[Mapping[str, Any]], events: Sequence[Event]) -> list[Any]:
    """What was registered in other terms than proposed: the user changed the call when he approved it."""
    proposed = [dict(c) for claim in claims for c in (claim, in_direction_only(claim))]
    return [
        _identity(e.args)
        for e in events
        if e.name == "register" and not e.args.get("dry_run") and e.result and _terms(e) not in proposed
    ]


def _identity(args: Mapping[str, Any]) -> Any:
    return args["tool"], args.get("condition"), args.get("contrast"), args["metric"]


def _terms(event: Event) -> dict[str, Any]:
    return {k: v for k, v in event.args.items() if k not in ("dry_run", "max_units")}


def _towards_registration(claim: Mapping[str, Any], events: Sequence[Event], *, exact: bool) -> Action | None:
    """The dry run, then the registration, or None when both are answered (or refused).

    A claim about a size that the campaign could not see is replaced by one about its direction alone.
    """
    plan = _answered(claim, events, dry_run=True)
    if plan is None:
        most = {"max_units": MAX_UNITS} if exact else {}
        return Action("register", {**claim, **most, "dry_run": True})
    if plan.result is None:
        return None
    if _cannot_be_seen(plan.result, claim):
        return None if exact else _towards_registration(in_direction_only(claim), events, exact=exact)
    if _answered(claim, events, dry_run=False) is not None:
        return None
    return Action("register", {**claim, "max_units": _units_to_reserve(plan.result)})


def _answered(claim: Mapping[str, Any], events: Sequence[Event], *, dry_run: bool) -> Event | None:
    for event in events:
        asked_dry = bool(event.args.get("dry_run", False))
        if event.name == "register" and asked_dry == dry_run and _terms(event) == dict(claim):
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


def open_claims(events: Sequence[Event]) -> list[OpenClaim]:
    """Registered claims and where they stand, in order of registration."""
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
                max_units=args.get("max_units", 200),
                units_left=args.get("max_units", 200),
            )
            if answer.get("registered_before"):
                claims[answer["hypothesis"]] = claims[answer["hypothesis"]].after(
                    answer, batch=answer["units"] > 0
                )
        elif event.name in ("run_batch", "stop"):
            ref = answer["hypothesis"]
            claims[ref] = claims[ref].after(answer, batch=event.name == "run_batch")
    return list(claims.values())


def _summary(report: Event, events: Sequence[Event]) -> list[str]:
    rows = (report.result or {}).get("verdicts", [])
    lines = [f"{row['verdict']}: {row['sentence']}" for row in rows]
    refused = [
        f"not registered: {e.args['metric']} of {_compared(e.args)}, {e.args['direction']} ({e.error})"
        for e in events
        if e.name == "register" and e.error
    ]
    failed = [
        f"not explored: {e.args['tool']} ({e.error})" for e in events if e.name == "explore" and e.error
    ]
    if not lines:
        lines = ["Nothing was registered: no condition moved the metric clearly, and none was clearly flat."]
    return [*lines, *refused, *failed]


def _compared(args: Mapping[str, Any]) -> str:
    contrast = args.get("contrast")
    return str(args.get("condition")) if not contrast else " - ".join(contrast)


def _unseen(events: Sequence[Event], *, exact: bool) -> list[str]:
    """Claims left out because the campaign could not see the effect that was asked for, and what would mend it."""
    plans = [e for e in events if exact and e.name == "register" and e.args.get("dry_run") and e.result]
    return [
        f"not registered: {e.args['metric']} of {_compared(e.args)}: with {MAX_UNITS} units the smallest effect that could be "
        f"shown is {e.result['smallest_detectable_effect']:.3g}, more than the {e.args['sesoi']:g} asked for; "
        "ask for a larger effect, or for a metric with a tighter range"
        for e in plans
        if e.result and _cannot_be_seen(e.result, e.args)
    ]
