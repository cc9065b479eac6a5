"""What a call answers: small JSON for planners, one line for people. Explored numbers always say that they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit.ledger.family import family_p
from agentkit.types import BASELINE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit.ledger import Hypothesis, Plan, Run, Spec, Status
    from agentkit.measurements import Measurements
    from agentkit.tools import Tool

MOST_CONDITIONS = 200
DIGITS = 6
NOTE = "exploratory, never evidence"
FAMILY_NOTE = "family_p is adjusted over all conditions of its metric (maxT, joint sign flips of units)"


def explore_answer(run: Run, table: Measurements, tool: Tool, *, family: bool = False) -> dict[str, Any]:
    """Per metric and condition: mean difference to baseline over units, and its standard error.

    With `family` also `family_p`: its p-value adjusted over all conditions of the metric (`ledger.family`).
    """
    return {
        "run": run.ref,
        "note": f"{NOTE}; {FAMILY_NOTE}" if family else NOTE,
        "units": len(table.units),
        "failed": len(run.units) - len(table.units),
        "metrics": {
            m: _metric_answer(table, tool, m, family_p(run, m) if family else None) for m in table.metrics
        },
        **({"not_measured": missing} if (missing := not_measured(table, tool)) else {}),
    }


def not_measured(table: Measurements, tool: Tool) -> list[str]:
    """Declared metrics that a tool left out with these params."""
    return [m.name for m in tool.metrics if m.name not in table.metrics]


def _metric_answer(
    table: Measurements, tool: Tool, metric: str, adjusted: Mapping[str, float] | None
) -> dict[str, Any]:
    declared = tool.metric(metric)
    baseline = table.column(metric, BASELINE)
    names, means, errors = [], [], []
    for condition in table.conditions[1:]:
        differences = table.column(metric, condition) - baseline
        differences = differences[np.isfinite(differences)]
        if len(differences):
            names.append(condition)
            means.append(float(differences.mean()))
            errors.append(_standard_error(differences))
    kept = _most_telling(means, errors)
    controls = [names[i] for i in kept if names[i] in tool.controls]
    known = baseline[np.isfinite(baseline)]  # a tool may measure a metric in other conditions alone
    return {
        "baseline": _short(float(known.mean())) if len(known) else None,
        "baseline_sd": _short(float(known.std(ddof=1)) if len(known) > 1 else 0.0),
        "low": declared.low,
        "high": declared.high,
        "higher_is_better": declared.higher_is_better,
        "conditions": [names[i] for i in kept],
        "mean": [_short(means[i]) for i in kept],
        "se": [_short(errors[i]) for i in kept],
        **({} if adjusted is None else {"family_p": [_short(adjusted[names[i]]) for i in kept if adjusted]}),
        **({"controls": controls} if controls else {}),
        "not_shown": len(names) - len(kept),
    }


def _most_telling(means: list[float], errors: list[float]) -> list[int]:
    """All conditions in their order, or the most telling half of the limit when there are too many."""
    if len(means) <= MOST_CONDITIONS:
        return list(range(len(means)))
    telling = sorted(range(len(means)), key=lambda i: -abs(means[i]) / max(errors[i], 1e-12))
    return sorted(telling[: MOST_CONDITIONS // 2])


def _standard_error(values: np.ndarray[Any, Any]) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def explore_lines(answer: dict[str, Any]) -> list[str]:
    """What a person sees of an exploration: per metric the condition that moved most."""
    lines = []
    for metric, table in answer["metrics"].items():
        if not table["conditions"]:
            continue
        i = max(range(len(table["mean"])), key=lambda j: abs(table["mean"][j]))
        adjusted = f"family p {table['family_p'][i]:.2g}, " if table.get("family_p") else ""
        lines.append(
            f"explore  {answer['run']}  {metric}: baseline {_shown(table['baseline'])}; of {len(table['mean'])} conditions "
            f"{table['conditions'][i]} moved most ({_shown(table['mean'][i], '+')} ± {_shown(table['se'][i], digits=2)} se, {adjusted}"
            f"{answer['units']} units; exploratory)"
        )
    return lines


def _shown(value: float, sign: str = "", *, digits: int = 3) -> str:
    """Some significant digits, and no exponent where a person would rather read 14,155,776."""
    return f"{value:{sign},.0f}" if 1000 <= abs(value) < 1e9 else f"{value:{sign}.{digits}g}"


def formula(spec: Spec) -> str:
    """The claim as a formula: `recall_at_1: typos=0.4 - baseline < -0.05` or `… within ±0.02`."""
    terms: list[str] = []
    for condition, k in sorted(spec.contrast.items(), key=lambda item: (item[1] < 0, item[0])):
        size = "" if abs(k) == 1 else f"{abs(k):g}*"
        sign = "- " if k < 0 else "+ " if terms else ""
        terms.append(f"{sign}{size}{condition}")
    relation = {
        "greater": f"> {spec.null:g}",
        "less": f"< {spec.null:g}",
        "two_sided": f"!= {spec.null:g}",
        "equivalent": f"within ±{spec.sesoi:g}",
    }[spec.direction]
    return f"{spec.tool}  {spec.metric}: {' '.join(terms)} {relation}"


def plan_answer(plan: Plan, spec: Spec) -> dict[str, Any]:
    """What a claim would cost, before anything is frozen."""
    return {
        "claim": formula(spec),
        "expected_units": _finite(plan.expected_units),
        "smallest_detectable_effect": _finite(plan.mde),
        "share_decided": _finite(plan.share_decided),
        "max_units": spec.max_units,
    }


def status_answer(hypothesis: Hypothesis, status: Status) -> dict[str, Any]:
    """Where one claim stands: estimate, interval and evidence at the level it would be judged at now."""
    state = "closed" if hypothesis.state == "closed" else "decided" if status.decided else "open"
    return {
        "hypothesis": hypothesis.ref,
        "state": state,
        "units": status.units,
        "failed": status.failed,
        "units_left": status.units_left,
        "estimate": _finite(status.estimate),
        "interval": [_finite(status.lo), _finite(status.hi)],
        "log_e": _finite(status.log_e),
        "level": status.level,
        "label_if_stopped": status.label,
    }


def batch_line(run: Run, answer: dict[str, Any]) -> str:
    """What a person sees of a batch."""
    lo, hi = answer["interval"]
    shown = "" if lo is None or hi is None else f" [{lo:.3g}, {hi:.3g}]"
    estimate = "no estimate" if answer["estimate"] is None else f"{answer['estimate']:+.3g}"
    return f"confirm  {run.ref}  {answer['hypothesis']}: {estimate}{shown} after {answer['units']} units; {answer['state']}"


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _short(value: float) -> float:
    return value if value.is_integer() else float(f"{value:.{DIGITS}g}")
