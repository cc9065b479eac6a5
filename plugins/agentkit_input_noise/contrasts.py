"""Ready-made claims about a curve, as contrasts of conditions to register; coefficients sum to zero."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from agentkit import BASELINE
from agentkit_input_noise.sweep import CHANCE, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Name = Callable[[str, float], str]

Contrast = dict[str, float]
"""Coefficient by condition."""

LEVEL = 1 / 2_000
"""Error level at which `units_needed` is printed: alpha 0.05, 100 hypotheses, one tail of two."""

BET_CAP = 0.95


def trend(kind: str, strengths: Sequence[float], name: Name = name_of) -> Contrast:
    """Centred ranks over baseline and the strengths: below zero when the level falls with strength.

    Scaled so that the positive coefficients sum to 1, as for a plain difference.
    """
    names = [BASELINE, *(name(kind, s) for s in sorted(strengths))]
    ranks = {name: i - (len(names) - 1) / 2 for i, name in enumerate(names)}
    return _scaled(ranks)


def ed50_below(kind: str, strength: float, name: Name = name_of) -> Contrast:
    """Below zero exactly when at `strength` more than half of baseline minus chance is lost (falling curve)."""
    return {name(kind, strength): 1.0, BASELINE: -0.5, CHANCE: -0.5}


def excess_over_control(condition: str, control: str) -> Contrast:
    """What a perturbation does beyond its matched-size random control."""
    return {condition: 1.0, control: -1.0}


def area_difference(kind_a: str, kind_b: str, strengths: Sequence[float], name: Name = name_of) -> Contrast:
    """Area under the curve of one kind minus that of another on the same grid (trapezoid)."""
    grid = [0.0, *sorted(strengths)]
    width = grid[-1] - grid[0]
    found: Contrast = {}
    for i, strength in enumerate(grid[1:], 1):
        left, right = grid[i] - grid[i - 1], (grid[i + 1] - grid[i]) if i + 1 < len(grid) else 0.0
        found[name(kind_a, strength)] = (left + right) / (2 * width)
        found[name(kind_b, strength)] = -(left + right) / (2 * width)
    return found


def value(contrast: Contrast, levels: Mapping[str, float]) -> float:
    """The contrast of mean levels by condition."""
    return sum(k * levels[c] for c, k in contrast.items())


def units_needed(
    contrast: Contrast,
    shift: float,
    low: float,
    high: float,
    *,
    direction: str = "less",
    level: float = LEVEL,
) -> int | None:
    """Least units that a bounded-mean claim could need for a true mean `shift`; None when it points away.

    ln(1/level) / (0.95 d): d is the shift as a share of how far the contrast can reach against it, for a
    metric in [low, high]. Betting cautiously costs more; `test: sign` needs at least 12.
    """
    if direction == "less":
        contrast, shift = {c: -k for c, k in contrast.items()}, -shift
    if shift <= 0:
        return None
    against = -sum(k * (low if k > 0 else high) for k in contrast.values())
    return math.ceil(math.log(1 / level) * against / (BET_CAP * shift))


def ready_made(
    kinds: Sequence[str],
    strengths: Sequence[float],
    metric: str,
    low: float,
    high: float,
    levels: Mapping[str, float],
    *,
    falls: bool = True,
    controls: Mapping[str, str] | None = None,
    name: Name = name_of,
) -> list[dict[str, Any]]:
    """Every contrast worth registering from one exploration, with what it showed and the least it would cost.

    Args:
        kinds: kinds of noise that share `strengths`.
        strengths: positive strengths.
        metric: the metric's name; its range is [low, high].
        low: smallest value.
        high: largest value.
        levels: mean level by condition, `baseline` among them.
        falls: whether noise lowers the metric.
        controls: for a kind, the kind that is its matched-size control.
        name: the condition of a kind at a strength.
    """
    direction = "less" if falls else "greater"
    claims: list[tuple[str, Contrast, str]] = []
    for kind in kinds:
        claims.append((f"trend of {kind}", trend(kind, strengths, name), direction))
        if CHANCE in levels:
            claims += [
                (f"ED50 of {kind} < {s:g}", ed50_below(kind, s, name), direction) for s in sorted(strengths)
            ]
    for kind, control in (controls or {}).items():
        for s in sorted(strengths):
            pair = name(kind, s), name(control, s)
            claims.append((f"{pair[0]} beyond {pair[1]}", excess_over_control(*pair), direction))
    for i, a in enumerate(kinds):
        for b in kinds[i + 1 :]:
            claims.append((f"area of {a} minus {b}", area_difference(a, b, strengths, name), "two_sided"))
    return [
        row(title, contrast, toward, metric, low, high, levels)
        for title, contrast, toward in claims
        if all(c in levels for c in contrast)
    ]


def row(
    name: str,
    contrast: Contrast,
    direction: str,
    metric: str,
    low: float,
    high: float,
    levels: Mapping[str, float],
) -> dict[str, Any]:
    """One claim as JSON: what the exploration showed, and the least number of units it would cost."""
    shift = value(contrast, levels)
    toward = direction if direction != "two_sided" else ("greater" if shift > 0 else "less")
    return {
        "claim": name,
        "metric": metric,
        "contrast": contrast,
        "direction": direction,
        "explored_mean": shift,
        "least_units": units_needed(contrast, shift, low, high, direction=toward),
        "least_units_of_sign_test": 12,
        "status": "explored: register it to decide",
    }


def _scaled(raw: Contrast) -> Contrast:
    positive = sum(k for k in raw.values() if k > 0)
    return {c: k / positive for c, k in raw.items()}
