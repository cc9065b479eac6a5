"""What an exploration looked at: strengths of a kind, attention heads, or plain conditions; with descriptive figures.

Everything here describes the explored units. It chose the claims; it is never evidence for one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agentkit.types import BASELINE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agentkit.measurements import Measurements
    from agentkit.report.facts import Finding

DOSE = re.compile(r"(?P<kind>.+)=(?P<strength>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")
SITE = re.compile(r"L(?P<layer>\d+)\.H(?P<head>\d+)")
SITE_PARTS = re.compile(r"\d+")
FEWEST_LEVELS = 3
FEWEST_HEADS = 4
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Level:
    """One strength (0 is the baseline): mean over units, ends of its 95 % Student-t interval, number of units."""

    condition: str
    strength: float
    mean: float
    lo: float
    hi: float
    units: int


@dataclass(frozen=True)
class Curve:
    """The levels of one kind of perturbation, baseline first where 0 is the weakest."""

    kind: str
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Shift:
    """One condition against baseline: mean paired difference, ends of its 95 % Student-t interval, units."""

    condition: str
    level: float
    mean: float
    lo: float
    hi: float
    units: int

    @property
    def half_width(self) -> float | None:
        """Half the interval's length; None where one unit has none."""
        return None if math.isnan(self.lo) else (self.hi - self.lo) / 2


def t_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean and ends of the 95 % Student-t interval of the mean; the ends are NaN for fewer than two values."""
    from scipy.special import stdtrit

    n = len(values)
    mean = math.fsum(values.tolist()) / n if n else math.nan
    if n < 2:
        return mean, math.nan, math.nan
    half = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


def dose_levels(conditions: Sequence[str]) -> dict[str, list[tuple[float, str]]]:
    """Kinds with at least three strengths, each with (strength, condition) by strength; kinds in order of name."""
    kinds: dict[str, list[tuple[float, str]]] = {}
    for condition in conditions:
        if match := DOSE.fullmatch(condition):
            strength = float(match["strength"])
            if math.isfinite(strength):
                kinds.setdefault(match["kind"], []).append((strength, condition))
    return {kind: sorted(levels) for kind, levels in sorted(kinds.items()) if len(levels) >= FEWEST_LEVELS}


def curves(
    table: Measurements, metric: str, bounds: tuple[float | None, float | None] = (None, None)
) -> list[Curve]:
    """Dose-response curves of one metric, the baseline at strength 0; intervals end at the metric's range."""
    made = []
    for kind, levels in dose_levels(table.conditions).items():
        points = [_level(table, metric, condition, strength, bounds) for strength, condition in levels]
        points.append(_level(table, metric, BASELINE, 0.0, bounds))
        kept = [point for point in points if point.units]
        if len(kept) > FEWEST_LEVELS:
            made.append(Curve(kind, tuple(sorted(kept, key=lambda p: p.strength))))
    return made


def _level(
    table: Measurements,
    metric: str,
    condition: str,
    strength: float,
    bounds: tuple[float | None, float | None],
) -> Level:
    values = table.column(metric, condition)
    mean, lo, hi = t_interval(values[np.isfinite(values)])
    low, high = bounds
    lo = lo if low is None else max(lo, low)
    hi = hi if high is None else min(hi, high)
    return Level(condition, strength, mean, lo, hi, int(np.isfinite(values).sum()))


def shifts(table: Measurements, metric: str) -> list[Shift]:
    """Every perturbed condition against baseline, unit by unit, in the tool's order."""
    made = []
    baseline = table.column(metric, BASELINE)
    for condition in table.conditions[1:]:
        values = table.column(metric, condition)
        there = np.isfinite(values) & np.isfinite(baseline)
        if there.any():
            level = math.fsum(values[there].tolist()) / int(there.sum())
            made.append(Shift(condition, level, *t_interval((values - baseline)[there]), int(there.sum())))
    return made


def head_sites(conditions: Sequence[str]) -> dict[tuple[int, int], str]:
    """(layer, head) to condition for conditions `L<layer>.H<head>`; empty when they are too few for a map."""
    sites = {
        (int(match["layer"]), int(match["head"])): condition
        for condition in conditions
        if (match := SITE.fullmatch(condition))
    }
    return sites if len(sites) >= FEWEST_HEADS else {}


def head_differences(rows: Sequence[Shift]) -> NDArray[np.float64]:
    """Mean difference to baseline by (layer, head), NaN where a head was not explored."""
    sites = head_sites([row.condition for row in rows])
    grid = np.full((1 + max(layer for layer, _ in sites), 1 + max(head for _, head in sites)), np.nan)
    means = {row.condition: row.mean for row in rows}
    for place, condition in sites.items():
        grid[place] = means[condition]
    return grid


def main_metric(table: Measurements, tool: str, findings: Sequence[Finding]) -> str:
    """The metric that most hypotheses of this tool are about, else the tool's first."""
    votes = [f.metric for f in findings if f.tool == tool and f.metric in table.metrics]
    return max(table.metrics, key=lambda metric: (votes.count(metric), -table.metrics.index(metric)))


def tested_heads(
    findings: Sequence[Finding], tool: str, metric: str, params: Mapping[str, object]
) -> dict[tuple[int, int], Finding]:
    """Heads with a registered hypothesis of the same tool, metric and params: head minus baseline."""
    tested: dict[tuple[int, int], Finding] = {}
    for finding in findings:
        head = next((c for c, k in finding.contrast.items() if k == 1 and SITE.fullmatch(c)), None)
        same = (finding.tool, finding.metric) == (tool, metric) and finding.params == params
        if same and head and dict(finding.contrast) == {head: 1, BASELINE: -1}:
            layer, number = (int(part) for part in SITE_PARTS.findall(head))
            known = tested.get((layer, number))
            if known is None or finding.decided or not known.decided:
                tested[layer, number] = finding
    return tested
