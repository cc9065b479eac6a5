"""`Spec`: everything about a hypothesis that is frozen and hashed, and every reason to refuse one."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Self

from agentkit.canon import sha256_of
from agentkit.errors import ParamError, SpecError, StatsError, near_names
from agentkit.stats.claims import (
    DIRECTIONS,
    INTERVALS,
    MOST_FAILED_SHARE,
    TESTS,
    Claim,
    check,
    check_contrast,
    difference_range,
)
from agentkit.types import BASELINE, Frozen, Metric

if TYPE_CHECKING:
    from agentkit.plugins import Plugins
    from agentkit.tools import Params, Tool

MOST_UNITS = 100_000
_INVALID_IF = re.compile(r"invalid_if:\s*(\S+)")


class Spec(Frozen):
    """A claim about one contrast of one tool's metric. Any change of any field changes all confirm seeds.

    `lo` and `hi` bound D = sum of coefficient * value; they and `claim` follow from the fields.
    """

    plugin: str
    distribution: str
    distribution_version: str
    tool: str
    tool_version: str
    source_sha256: str
    params: dict[str, Any]
    targets: dict[str, str]
    contrast: dict[str, float]
    metric: str
    low: float | None
    high: float | None
    baseline: float | None
    direction: str
    null: float
    sesoi: float
    test: str
    interval: str
    max_units: int
    failed: str

    @property
    def sha256(self) -> str:
        """Hash of the whole spec: what seeds are derived from."""
        return sha256_of(self.model_dump(mode="json"))

    @property
    def claim(self) -> Claim:
        """The statistical part, as `agentkit.stats` reads it."""
        lo, hi = self._range
        return Claim(
            test=self.test,
            direction=self.direction,
            null=self.null,
            sesoi=self.sesoi,
            lo=lo,
            hi=hi,
            interval=self.interval,
            invalid_if=share_of_failed(self.failed),
        )

    @property
    def lo(self) -> float:
        """Smallest possible D (minus infinity where the metric has no range)."""
        return self.claim.lo

    @property
    def hi(self) -> float:
        """Largest possible D."""
        return self.claim.hi

    @property
    def _range(self) -> tuple[float, float]:
        if self.test == "sign":
            return -1.0, 1.0
        if self.low is None or self.high is None:
            return -math.inf, math.inf
        return difference_range(self.contrast, self.low, self.high, self.baseline)

    @property
    def metric_range(self) -> Metric:
        """The metric as it was declared when the spec was frozen."""
        return Metric(self.metric, self.low, self.high, self.baseline)

    @classmethod
    def build(
        cls,
        plugins: Plugins,
        tool: str,
        params: Mapping[str, Any] | Params,
        *,
        metric: str,
        direction: str,
        sesoi: float,
        condition: str | None = None,
        contrast: Mapping[str, float] | None = None,
        null: float = 0.0,
        test: str | None = None,
        interval: str = "two_sided",
        max_units: int = 200,
        failed: str | Mapping[str, float] = "worst_case",
        targets: Mapping[str, str] | None = None,
        known_conditions: Collection[str] | None = None,
    ) -> Spec:
        """A spec that can be tested as it stands.

        Args:
            plugins: where the tool, its version and its metrics come from.
            tool: `family.name`.
            params: the tool's params.
            metric: one of the tool's declared metrics.
            direction: `greater`, `less`, `two_sided` or `equivalent`.
            sesoi: smallest effect of interest, in the metric's units (a probability difference for `sign`).
            condition: short for the contrast `{condition: 1, baseline: -1}`.
            contrast: coefficients that sum to 0, by condition.
            null: value that the direction is about, inside (lo, hi).
            test: `bounded_mean`, `sign` or `sharp`; the first where the metric has a range, else the second.
            interval: `two_sided`, or `one_sided` (more power, only `supported` can come out).
            max_units: most units it may ever use.
            failed: `worst_case`, or `{"invalid_if": q}`: as well, and invalid above a share q of failed units.
            targets: `{uri: fingerprint}`; found in the params unless given.
            known_conditions: conditions the tool can measure with these params, where they are known.

        Raises:
            SpecError: naming the field, its value, what is allowed, and near names.
        """
        try:
            found = plugins.tool(tool)
            owner, parsed, measured = plugins.owner(tool), found.parse(params), found.metric(metric)
        except ParamError as error:
            raise SpecError(str(error)) from None
        _refuse_explore_only(found)
        for field, value, allowed in (
            ("direction", direction, DIRECTIONS),
            ("interval", interval, INTERVALS),
            ("test", test or TESTS[0], TESTS),
        ):
            if value not in allowed:
                raise SpecError(f"{field}={value!r}: {near_names(str(value), allowed)}")
        values = parsed.model_dump(mode="json")
        spec = cls(
            plugin=owner.name,
            distribution=owner.distribution,
            distribution_version=owner.version,
            tool=found.name,
            tool_version=found.version,
            source_sha256=found.source_sha256,
            params=values,
            targets=dict(plugins.fingerprints(plugins.target_uris(values)) if targets is None else targets),
            contrast=_contrast(condition, contrast, known_conditions),
            metric=measured.name,
            low=measured.low,
            high=measured.high,
            baseline=measured.baseline,
            direction=direction,
            null=_finite("null", null),
            sesoi=_finite("sesoi", sesoi),
            test=test or ("bounded_mean" if measured.bounded else "sign"),
            interval=interval,
            max_units=_units(max_units),
            failed=_failure_policy(failed),
        )
        return spec.checked()

    def checked(self) -> Self:
        """This spec, or SpecError when no statistic can answer it."""
        if self.test == "bounded_mean" and (self.low is None or self.high is None):
            raise SpecError(
                f"test='bounded_mean': metric {self.metric!r} declares no range; "
                "use test 'sign' or 'sharp', or declare low and high in the tool"
            )
        try:
            check_contrast(self.contrast, self.test)
            check(self.claim)
        except StatsError as error:
            raise SpecError(str(error)) from None
        return self

    def tested_sites(self) -> list[str]:
        """The conditions the contrast reads, in order of name."""
        return sorted(self.contrast)


def share_of_failed(failed: str) -> float | None:
    """Q of `invalid_if: q`, None for `worst_case`."""
    match = _INVALID_IF.fullmatch(failed)
    return float(match[1]) if match else None


def _refuse_explore_only(tool: Tool) -> None:
    if tool.explore_only:
        raise SpecError(
            f"tool={tool.name!r} is explore_only: its values do not depend on the unit, so more units are no evidence; "
            "explore with it and register a hypothesis about a tool that is measured on units"
        )


def _contrast(
    condition: str | None, contrast: Mapping[str, float] | None, known: Collection[str] | None
) -> dict[str, float]:
    if (condition is None) == (contrast is None):
        raise SpecError("give either condition or contrast: condition='x' means {'x': 1, 'baseline': -1}")
    if condition == BASELINE:
        raise SpecError("condition='baseline' is the untouched target; name a perturbed condition")
    chosen = {str(condition): 1.0, BASELINE: -1.0} if contrast is None else dict(contrast)
    for name in chosen:
        if known is not None and name not in known and name != BASELINE:
            raise SpecError(f"condition={name!r}: {near_names(name, known)}")
    return {name: _finite(f"contrast[{name}]", value) for name, value in sorted(chosen.items())}


def _finite(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SpecError(f"{field}={value!r}: a finite number is allowed")
    return float(value) + 0.0  # no negative zero: equal specs have one hash


def _units(max_units: Any) -> int:
    if isinstance(max_units, bool) or not isinstance(max_units, int) or not 1 <= max_units <= MOST_UNITS:
        raise SpecError(f"max_units={max_units!r}: a whole number from 1 to {MOST_UNITS} is allowed")
    return max_units


def _failure_policy(failed: str | Mapping[str, float]) -> str:
    """`worst_case` or `invalid_if: q`, spelt in one way."""
    allowed = f"'worst_case', or 'invalid_if: q' with 0 <= q <= {MOST_FAILED_SHARE:g}"
    if failed == "worst_case":
        return "worst_case"
    if isinstance(failed, Mapping):
        if set(failed) != {"invalid_if"}:
            raise SpecError(f"failed={dict(failed)!r}: allowed is {allowed}")
        share: Any = failed["invalid_if"]
    else:
        match = _INVALID_IF.fullmatch(str(failed))
        if match is None:
            raise SpecError(f"failed={failed!r}: allowed is {allowed}")
        share = match[1]
    try:
        number = float(share)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= MOST_FAILED_SHARE:
        raise SpecError(f"failed='invalid_if: {share}': allowed is {allowed}")
    return f"invalid_if: {number!r}"
