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

    Bounds = tuple[float | None, float | None]
    Site = tuple[int, int]
    """(layer, head)"""

DOSE = re.compile(r"(?P<kind>.+)=(?P<strength>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")
SITE = re.compile(r"L(?P<layer>\d{1,3})\.H(?P<head>\d{1,3})(?P<variant>:.+)?")
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
    """The levels of one kind of perturbation, by strength, the baseline among them at 0."""

    kind: str
    levels: tuple[Level, ...]

    @property
    def baseline(self) -> Level:
        """The untouched target."""
        return next(level for level in self.levels if level.condition == BASELINE)


@dataclass(frozen=True)
class Shift:
    """One condition against baseline: its mean, mean paired difference, ends of its 95 % Student-t interval, units."""

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
    kinds: dict[str, dict[float, str]] = {}
    for condition in conditions:
        if match := DOSE.fullmatch(condition):
            strength = float(match["strength"])
            if math.isfinite(strength) and strength != 0:  # 0 is the baseline
                kinds.setdefault(match["kind"], {}).setdefault(strength, condition)
    return {
        kind: sorted(levels.items()) for kind, levels in sorted(kinds.items()) if len(levels) >= FEWEST_LEVELS
    }


def curves(table: Measurements, metric: str, bounds: Bounds = (None, None)) -> list[Curve]:
    """Dose-response curves of one metric, the baseline at strength 0; intervals end at the metric's range."""
    baseline = level_of(table, metric, BASELINE, bounds)
    made = []
    for kind, levels in dose_levels(table.conditions).items():
        points = [level_of(table, metric, condition, bounds, strength) for strength, condition in levels]
        measured = [point for point in points if point.units]
        if len(measured) >= FEWEST_LEVELS and baseline.units:
            made.append(Curve(kind, tuple(sorted([*measured, baseline], key=lambda level: level.strength))))
    return made


def level_of(
    table: Measurements, metric: str, condition: str, bounds: Bounds = (None, None), strength: float = 0.0
) -> Level:
    """Mean and interval of one condition by itself."""
    values = table.column(metric, condition)
    values = values[np.isfinite(values)]
    mean, lo, hi = t_interval(values)
    low, high = bounds
    lo = lo if low is None else max(lo, low)
    hi = hi if high is None else min(hi, high)
    return Level(condition, strength, mean, lo, hi, len(values))


def shifts(table: Measurements, metric: str) -> list[Shift]:
    """Every perturbed condition against baseline, unit by unit, in the tool's order."""
    made = []
    baseline = table.column(metric, BASELINE)
    for condition in table.conditions[1:]:
        values = table.column(metric, condition)
        there = np.isfinite(values) & np.isfinite(baseline)
        if n := int(there.sum()):
            level = math.fsum(values[there].tolist()) / n
            made.append(Shift(condition, level, *t_interval((values - baseline)[there]), n))
    return made


def most_moved(table: Measurements, metric: str) -> Shift | None:
    """The condition whose mean lies farthest from baseline; None where no condition has the metric."""
    return max(shifts(table, metric), key=lambda shift: abs(shift.mean), default=None)


def head_sites(conditions: Sequence[str]) -> dict[str, dict[Site, str]]:
    """Sites by variant: conditions `L3.H2` have variant "", `L3.H2:scale@2` has `scale@2`; maps of a few heads left out."""
    variants: dict[str, dict[Site, str]] = {}
    for condition in conditions:
        if match := SITE.fullmatch(condition):
            place = int(match["layer"]), int(match["head"])
            variants.setdefault((match["variant"] or "").lstrip(":"), {})[place] = condition
    return {variant: sites for variant, sites in variants.items() if len(sites) >= FEWEST_HEADS}


def head_differences(rows: Sequence[Shift], sites: Mapping[Site, str]) -> NDArray[np.float64]:
    """Mean difference to baseline by (layer, head), NaN where a head was not explored."""
    grid = np.full((1 + max(layer for layer, _ in sites), 1 + max(head for _, head in sites)), np.nan)
    means = {row.condition: row.mean for row in rows}
    for place, condition in sites.items():
        grid[place] = means[condition]
    return grid


def main_metric(table: Measurements, tool: str, findings: Sequence[Finding]) -> str:
    """The metric that most hypotheses of this tool are about, else the tool's first."""
    votes = [f.metric for f in findings if f.tool == tool and f.metric in table.metrics]
    return max(table.metrics, key=lambda metric: (votes.count(metric), -table.metrics.index(metric)))


def sites_with_verdicts(
    findings: Sequence[Finding],
    tool: str,
    metric: str,
    params: Mapping[str, object],
    sites: Mapping[Site, str],
) -> dict[Site, Finding]:
    """Sites with a hypothesis of the same tool, metric and params: site minus baseline; a decided one comes first."""
    place_of = {condition: place for place, condition in sites.items()}
    tested: dict[Site, Finding] = {}
    for finding in findings:
        site = next((c for c in finding.contrast if c in place_of), None)
        same = (finding.tool, finding.metric, finding.params) == (tool, metric, params)
        if same and site and finding.contrast == {site: 1, BASELINE: -1}:
            known = tested.get(place_of[site])
            if known is None or finding.decided or not known.decided:
                tested[place_of[site]] = finding
    return dict(sorted(tested.items()))
