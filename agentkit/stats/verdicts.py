"""From differences to a label: the verdict is where the anytime interval lies, and a pure function of its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agentkit.stats.claims import check
from agentkit.stats.eprocess import (
    Streams,
    beyond_range,
    log_k_minus,
    log_k_plus,
    log_tails_path,
    netted,
    streams,
)
from agentkit.stats.intervals import anytime_intervals, log_threshold, rounded
from agentkit.stats.problems import refused
from agentkit.stats.procedures import online_ebh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from agentkit.stats.claims import Claim

    Floats = NDArray[np.float64]

LABELS = ("supported", "contradicted", "equivalent", "inconclusive", "invalid")


@dataclass(frozen=True)
class Evidence:
    """What the units so far say about one claim; all logs natural, rounded to 9 decimals."""

    log_e: float
    """Largest entry of `log_e_by_label`: the e-value that campaign rules use."""
    log_e_by_label: Mapping[str, float]
    """Per label the claim can earn: it is earned at level a iff this reaches log(1/a)."""
    log_above: float
    """For mu above the null: log(theta * K+(null)), as used by the labels."""
    log_below: float
    """For mu below the null: log(theta * K-(null)), as used by the labels."""
    conflict: float
    """Smaller of the two tails' own log(theta * K): above log(1/a) both tails reject at a (`sharp` only)."""
    estimate: float | None
    """Mean of the ok differences (of their signs for `sign`); None when there are none."""
    n_units: int
    """Units with an outcome, failed ones included."""
    n_failed: int


@dataclass(frozen=True)
class Verdict:
    """Label of one claim at one level, with the interval it was read from."""

    label: str
    reason: str
    sign: int
    """+1 or -1: the interval lies above or below the null; 0: it does not exclude the null."""
    estimate: float | None
    lo: float | None
    hi: float | None
    """Ends of C(level); None where `sharp` without a range knows no bound, and for `invalid`."""
    log_e: float | None
    """None for `invalid`, whose e-value counts as 0."""
    level: float
    k_star: int
    units: int
    failed: int


def evidence(claim: Claim, differences: ArrayLike, failed: ArrayLike) -> Evidence:
    """Evidence about `claim` from D in unit order; entries of D at failed units are ignored.

    Raises:
        StatsError: for a claim that is not well posed, a D that is not finite, or one outside the range.
    """
    return evidence_of([claim], [differences], [failed])[0]


def evidence_of(
    claims: Sequence[Claim], differences: Sequence[ArrayLike], failed: Sequence[ArrayLike]
) -> list[Evidence]:
    """`evidence` of many claims in one pass per test; one claim's figures do not depend on the others."""
    for claim in claims:
        check(claim)
    found: dict[int, Evidence] = {}
    for rows, data in _by_test(claims, differences, failed):
        found.update(zip(rows, _evidence_of_streams([claims[i] for i in rows], data), strict=True))
    return [found[i] for i in range(len(claims))]


def log_e_path(claim: Claim, differences: ArrayLike, failed: ArrayLike) -> Floats:
    """`Evidence.log_e` after each unit, (unit,), not rounded: what a plot of evidence against units shows."""
    check(claim)
    path: Floats = log_e_paths(claim, streams(claim.test, [differences], [failed], [claim.lo], [claim.hi]))[0]
    return path


def log_e_paths(claim: Claim, data: Streams) -> Floats:
    """Largest log e-value of any label after each unit, (stream, unit), all streams judged by one claim."""
    tails = [log_tails_path(data, np.full(len(data), v)) for v in (claim.null, -claim.sesoi, claim.sesoi)]
    above, below = (np.array(side) + math.log(claim.theta) for side in zip(*tails, strict=True))
    best: Floats = np.max([label_log_e(label, claim, above, below) for label in claim.labels], axis=0)
    return best


def campaign_log_e(
    claim: Claim, differences: ArrayLike, failed: ArrayLike, invalid: str | None = None
) -> float:
    """The log e-value that a closed hypothesis brings to its campaign's rule; -inf when its rows make it invalid.

    What `judge_campaign` uses, without the interval, which costs sixty times as much.
    """
    values, mask = np.asarray(differences, np.float64).ravel(), np.asarray(failed, np.bool_).ravel()
    if invalid is not None or _fault("", claim, values, mask):
        return -math.inf
    return evidence(claim, values, mask).log_e


def judge(claim: Claim, differences: ArrayLike, failed: ArrayLike, level: float, k_star: int = 0) -> Verdict:
    """Verdict on one claim whose data collection is over, read from C(level)."""
    return _judge_all([claim], [differences], [failed], [""], lambda _: (k_star, np.array([level])))[0]


def judge_campaign(
    claims: Sequence[Claim],
    differences: Sequence[ArrayLike],
    failed: Sequence[ArrayLike],
    weights: Sequence[float],
    closed: Sequence[bool],
    invalid_reasons: Sequence[str | None],
    alpha: float,
) -> list[Verdict]:
    """Verdicts of a whole campaign by online e-BH over its closed, valid hypotheses.

    All sequences have one entry per hypothesis. `invalid_reasons` says what the caller found wrong (chain, rule,
    seed, ...) or None; values out of range and too many failures are found here. An open hypothesis is
    `inconclusive`, reason `open`, with the interval at the level it would have now.
    """
    reasons = [
        reason if reason is not None else "" if is_closed else "open"
        for is_closed, reason in zip(closed, invalid_reasons, strict=True)
    ]
    return _judge_all(claims, differences, failed, reasons, lambda log_e: online_ebh(log_e, weights, alpha))


def _judge_all(
    claims: Sequence[Claim],
    differences: Sequence[ArrayLike],
    failed: Sequence[ArrayLike],
    reasons: Sequence[str],
    levels_of: Callable[[Floats], tuple[int, Floats]],
) -> list[Verdict]:
    """Verdicts; `reasons` is "" where the caller has nothing to say, else "open" or why the row is invalid."""
    values = [np.asarray(d, dtype=np.float64).ravel() for d in differences]
    masks = [np.asarray(f, dtype=np.bool_).ravel() for f in failed]
    reasons = [
        _fault(*row) if row[0] in ("", "open") else row[0]
        for row in zip(reasons, claims, values, masks, strict=True)
    ]
    sound = [i for i, reason in enumerate(reasons) if reason in ("", "open")]
    kept = [claims[i] for i in sound], [values[i] for i in sound], [masks[i] for i in sound]
    found = dict(zip(sound, evidence_of(*kept), strict=True))
    counted = [found[i].log_e if reason == "" else -math.inf for i, reason in enumerate(reasons)]
    k_star, levels = levels_of(np.array(counted))
    if not ((levels > 0) & (levels < 1)).all():
        raise refused("level", levels.tolist(), "numbers in (0, 1)")
    ends = dict(zip(sound, _intervals(*kept, levels[sound]), strict=True))
    return [
        _verdict(claim, found[i], ends[i], level, k_star, reasons[i] == "open")
        if i in found
        else _invalid(claim, reasons[i], values[i], masks[i], level, k_star)
        for i, (claim, level) in enumerate(zip(claims, levels.tolist(), strict=True))
    ]


def _fault(reason: str, claim: Claim, values: Floats, failed: NDArray[np.bool_]) -> str:
    """Why the rows themselves make the hypothesis invalid, else the reason it came with."""
    check(claim)
    if claim.test == "bounded_mean" and beyond_range(values[~failed], claim.lo, claim.hi) is not None:
        return "range"
    too_many = (
        claim.invalid_if is not None and len(failed) > 0 and failed.sum() / len(failed) > claim.invalid_if
    )
    # while open the share may still fall
    return "failures" if too_many and reason != "open" else reason


def _by_test(
    claims: Sequence[Claim], differences: Sequence[ArrayLike], failed: Sequence[ArrayLike]
) -> Iterator[tuple[list[int], Streams]]:
    """Streams of claims that share a test and, to save padding, about a length; with their places in the input."""
    groups: dict[tuple[str, int], list[int]] = {}
    for i, claim in enumerate(claims):
        groups.setdefault((claim.test, np.size(failed[i]).bit_length()), []).append(i)
    for (test, _), rows in groups.items():
        lo, hi = [claims[i].lo for i in rows], [claims[i].hi for i in rows]
        yield rows, streams(test, [differences[i] for i in rows], [failed[i] for i in rows], lo, hi)


def _evidence_of_streams(claims: Sequence[Claim], data: Streams) -> list[Evidence]:
    places = np.array([[c.null, -c.sesoi, c.sesoi] for c in claims])
    log_theta = np.log([[c.theta] for c in claims])
    plus, minus = log_k_plus(data, places), log_k_minus(data, places)
    own = rounded(log_theta + np.minimum(plus, minus))
    above, below = (rounded(log_theta + tail) for tail in netted(data.test, plus, minus))
    return [
        _evidence(
            claim, above[i], below[i], float(own[i, 0]), data.values[i][data.ok[i]], int(data.failed[i].sum())
        )
        for i, claim in enumerate(claims)
    ]


def _evidence(
    claim: Claim, above: Floats, below: Floats, conflict: float, good: Floats, n_failed: int
) -> Evidence:
    """`above` and `below` are the tails' logs at null, -sesoi and sesoi; `good` the values of ok units."""
    by_label = {label: float(label_log_e(label, claim, above, below)) for label in claim.labels}
    return Evidence(
        log_e=max(by_label.values()),
        log_e_by_label=by_label,
        log_above=float(above[0]),
        log_below=float(below[0]),
        conflict=conflict,
        estimate=_mean(good),
        n_units=len(good) + n_failed,
        n_failed=n_failed,
    )


def _mean(values: Floats) -> float | None:
    return math.fsum(values.tolist()) / len(values) if len(values) else None


def label_log_e(label: str, claim: Claim, above: Floats, below: Floats) -> Floats:
    """Log e-value of one label: the label's condition on the interval, read at the threshold.

    `above` and `below` are the logs of theta times both tails at null, -sesoi and sesoi (first axis); any further
    axes are kept.
    """
    null, minus, plus = range(3)
    log_e: Floats
    if label == "equivalent":
        log_e = np.minimum(above[minus], below[plus])
    elif claim.direction == "equivalent":
        # contradicted: beyond an end of the band, where the range reaches so far
        beyond_high = above[plus] if claim.sesoi < claim.hi else np.full_like(above[plus], -np.inf)
        beyond_low = below[minus] if -claim.sesoi > claim.lo else np.full_like(below[minus], -np.inf)
        log_e = np.maximum(beyond_high, beyond_low)
    elif claim.direction == "two_sided":
        log_e = np.maximum(above[null], below[null])
    else:
        log_e = (above if (claim.direction == "greater") == (label == "supported") else below)[null]
    return log_e


def _intervals(
    claims: Sequence[Claim], values: Sequence[Floats], failed: Sequence[NDArray[np.bool_]], levels: Floats
) -> list[tuple[float, float]]:
    """C(level) per claim; a one-sided claim keeps only the end that its direction needs."""
    ends: dict[int, tuple[float, float]] = {}
    for rows, data in _by_test(claims, values, failed):
        lower, upper = anytime_intervals(data, [claims[i].theta for i in rows], levels[rows])
        for i, lo, hi in zip(rows, lower.tolist(), upper.tolist(), strict=True):
            claim, one_sided = claims[i], claims[i].interval == "one_sided"
            ends[i] = (
                claim.lo if one_sided and claim.direction == "less" else lo,
                claim.hi if one_sided and claim.direction == "greater" else hi,
            )
    return [ends[i] for i in range(len(claims))]


def _verdict(
    claim: Claim, found: Evidence, ends: tuple[float, float], level: float, k_star: int, is_open: bool
) -> Verdict:
    needed = float(log_threshold(level))
    earned = [label for label, log_e in found.log_e_by_label.items() if log_e >= needed]
    label = earned[0] if earned and not is_open else "inconclusive"
    if is_open:
        reason = "open"
    elif earned:
        reason = "decided"
    elif found.n_units == found.n_failed:
        reason = "no_units"
    else:
        reason = "mixed" if found.conflict >= needed else "undecided"
    sign = _sign(claim, found, needed)
    lo, hi = (end if math.isfinite(end) else None for end in ends)
    return Verdict(
        label, reason, sign, found.estimate, lo, hi, found.log_e, level, k_star, found.n_units, found.n_failed
    )


def _sign(claim: Claim, found: Evidence, needed: float) -> int:
    sees_above = claim.interval == "two_sided" or claim.direction == "greater"
    sees_below = claim.interval == "two_sided" or claim.direction == "less"
    return int(sees_above and found.log_above >= needed) - int(sees_below and found.log_below >= needed)


def _invalid(
    claim: Claim, reason: str, values: Floats, failed: NDArray[np.bool_], level: float, k_star: int
) -> Verdict:
    values = np.sign(values) if claim.test == "sign" else values
    good = values[~failed]
    estimate = _mean(good[np.isfinite(good)])
    return Verdict(
        "invalid", reason, 0, estimate, None, None, None, level, k_star, len(failed), int(failed.sum())
    )
