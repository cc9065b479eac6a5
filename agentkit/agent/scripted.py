"""Confirm claims without a planner: register in file order, batches round robin, stop by rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit.agent.batches import BATCH_UNITS, OpenClaim, next_step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agentkit.agent.toolbox import Answer, Toolbox
    from agentkit.ledger import Hypothesis


def explore_all(toolbox: Toolbox, steps: Iterable[Mapping[str, Any]]) -> list[Answer]:
    """Run explore steps in order; `metric` and `sesoi` are for planners and are left out."""
    keep = ("tool", "params", "units", "family_p")
    return [
        toolbox.call(f"explore-{i}", "explore", {k: step[k] for k in keep if k in step})
        for i, step in enumerate(steps)
    ]


def register_all(toolbox: Toolbox, specs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Freeze claims in order; returns their ids."""
    return [
        str(toolbox.call(f"register-{i}", "register", spec)["hypothesis"]) for i, spec in enumerate(specs)
    ]


def confirm_all(toolbox: Toolbox, hypotheses: Sequence[Hypothesis]) -> None:
    """Draw batches until every claim is decided, futile or at its last unit, and close each.

    Calls are named by claim and batch, not by turn: a study that is resumed finds some claims closed.
    """
    claims = {h.ref: _open_claim(h) for h in hypotheses if h.state != "closed"}
    while (step := next_step(list(claims.values()))).kind != "done":
        ref, claim = step.hypothesis, claims[step.hypothesis]
        if step.kind == "run_batch":
            args = {"hypothesis": ref, "units": BATCH_UNITS}
            claims[ref] = claim.after(toolbox.call(f"confirm-{ref}-{claim.batches}", "run_batch", args))
        else:
            args = {"hypothesis": ref, "reason": step.reason}
            claims[ref] = claim.after(toolbox.call(f"stop-{ref}", "stop", args), batch=False)


def _open_claim(hypothesis: Hypothesis) -> OpenClaim:
    spec = hypothesis.spec
    return OpenClaim(
        ref=hypothesis.ref,
        direction=spec.direction,
        null=spec.null,
        sesoi=spec.sesoi,
        max_units=spec.max_units,
        units_left=spec.max_units,
    )
