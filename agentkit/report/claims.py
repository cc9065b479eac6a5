"""A frozen claim and its verdict in one line each, made from the spec and the verdict row alone.

Nothing a planner wrote enters: equal specs give equal sentences, whoever registered them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agentkit.report.canvas import drawable
from agentkit.report.document import Inline, Span, code, label, plain, text
from agentkit.report.numbers import MINUS, NONE, decimals_for, fixed, interval, number
from agentkit.types import BASELINE

if TYPE_CHECKING:
    from agentkit.report.facts import Finding

OTHER = {"greater": "less", "less": "greater"}
THAN = {"greater": "higher", "less": "lower"}
QUANTITY = {"bounded_mean": "mean", "sign": "sign balance of", "sharp": "centre of"}
"""What is claimed about: E[D], P(D>0) - P(D<0), the centre of symmetry of D."""
ESTIMATE = {
    "bounded_mean": "estimate",
    "sign": "share up less share down",
    "sharp": "centre of the difference",
}
"""What the estimate is, where it is not simply the mean difference."""


def claim_line(finding: Finding) -> Inline:
    """What is claimed, in words: metric, comparison, direction, by how much, and in which setting if that tells it apart."""
    words = _claim(finding)
    return text(*words, f" ({finding.setting})") if finding.setting else words


def _claim(finding: Finding) -> Inline:
    if finding.direction == "equivalent":
        return _within(finding)
    if finding.test == "sharp":
        return _sharp_claim(finding)
    if finding.test == "sign":
        return _sign_claim(finding)
    return _mean_claim(finding)


def where_line(finding: Finding) -> Inline:
    """Which tool on which targets, and the smallest effect of interest."""
    on: list[str | Span] = []
    for target in finding.targets:
        on += [", " if on else " on ", code(target)]
    sesoi = f"smallest effect of interest {number(finding.sesoi)}" if finding.sesoi else "any effect counts"
    return text(code(finding.tool), *on, f"; {sesoi}")


def compared(finding: Finding) -> Inline:
    """The contrast: `L3.H2 − baseline`, or the whole weighted sum."""
    pair = _pair(finding)
    if pair is not None:
        return text(_condition(pair[0]), f" {MINUS} ", _condition(pair[1]))
    parts: list[str | Span] = []
    for condition, weight in finding.contrast.items():
        sign = MINUS if weight < 0 else "+" if parts else ""
        joint = f" {sign} " if parts else sign
        parts += [f"{joint}{number(abs(weight))}·", _condition(condition)]
    return text(*parts)


def short_contrast(finding: Finding, longest: int) -> str:
    """The contrast in at most about `longest` characters the figures' font can draw; what is compared with stays."""
    pair = _pair(finding)
    if pair is None or pair[1] != BASELINE:
        return drawable(plain(compared(finding)), longest)
    tail = f" {MINUS} {BASELINE}"
    return drawable(pair[0], longest - len(tail)) + tail


def numbers_of(finding: Finding) -> tuple[str, str]:
    """Estimate and interval as printed: two digits of the interval's half-width, ends outwards."""
    return numbers_in_words(
        finding.estimate, finding.lo, finding.hi, null=finding.null, sesoi=finding.sesoi, label=finding.label
    )


def numbers_in_words(
    estimate: float | None, lo: float | None, hi: float | None, *, null: float, sesoi: float, label: str
) -> tuple[str, str]:
    """`numbers_of` from the bare numbers; an invalid verdict has no interval."""
    if lo is not None and hi is not None:
        spread = (hi - lo) / 2
    else:
        spread = max(abs(null), sesoi, abs(estimate or 0.0))
    decimals = decimals_for(spread)
    ends = NONE if label == "invalid" else interval(lo, hi, decimals, (null, -sesoi, sesoi))
    return fixed(estimate, decimals), ends


def sentence(finding: Finding) -> Inline:
    """One sentence with label, numbers and n that says no more than the label allows."""
    estimate, ends = numbers_of(finding)
    counted = f"n = {finding.units}" + (f", {finding.failed} failed" if finding.failed else "")
    if finding.label == "invalid":
        why = f" (reason {finding.reason}, {counted}): nothing may be concluded about whether "
        return text(label("invalid"), why, claim_line(finding), ".")
    numbers = f" ({ESTIMATE[finding.test]} {estimate}, interval {ends}, {counted})."
    return text(label(finding.label), ": ", _meaning(finding), numbers)


def _meaning(finding: Finding) -> Inline:
    """What the label says about the claim."""
    match finding.label:
        case "supported":
            return claim_line(finding)
        case "contradicted":
            return text(_against(finding), "; the claim was that ", claim_line(finding))
        case "equivalent":
            return _within(finding)
    so_far = " so far" if finding.is_open else ""
    return text(f"the units{so_far} do not decide whether ", claim_line(finding))


def _against(finding: Finding) -> Inline:
    """What holds instead of the claim."""
    if finding.direction in OTHER and not finding.null and finding.test != "sharp" and _pair(finding):
        return claim_line(replace(finding, direction=OTHER[finding.direction]))
    quantity = text(QUANTITY[finding.test], " ", code(finding.metric), ", ", compared(finding), ", lies ")
    if finding.direction == "equivalent":
        return text(quantity, f"outside ±{_exact(finding.sesoi)}")
    side = "below" if finding.direction == "greater" else "above"
    return text(quantity, f"{side} {_exact(finding.null)}")


def _within(finding: Finding) -> Inline:
    """The claim, or the finding, that the effect is smaller than what is of interest."""
    quantity, band = text(QUANTITY[finding.test], " ", code(finding.metric)), f"±{_exact(finding.sesoi)}"
    pair = _pair(finding)
    if pair is not None and finding.test == "bounded_mean":
        return text(quantity, " under ", code(pair[0]), f" is within {band} of ", _condition(pair[1]))
    return text(quantity, ", ", compared(finding), f", is within {band} of 0")


def _mean_claim(finding: Finding) -> Inline:
    pair = _pair(finding)
    if pair is None:
        return text("mean ", code(finding.metric), ", ", compared(finding), f", {_beyond_null(finding)}")
    subject, other = text("mean ", code(finding.metric), " under ", code(pair[0])), _condition(pair[1])
    if finding.direction == "two_sided":
        by = f" by something other than {_exact(finding.null)}" if finding.null else ""
        return text(subject, " differs from ", other, by)
    return text(subject, f" is {THAN[finding.direction]} than at ", other, _by(finding))


def _by(finding: Finding) -> str:
    """How far from the reference; a null on the other side of 0 makes the claim one of non-inferiority."""
    if not finding.null:
        return ""
    size = _exact(abs(finding.null))
    with_direction = (finding.null > 0) == (finding.direction == "greater")
    return f" by more than {size}" if with_direction else f", or less than {size} the other way"


def _sign_claim(finding: Finding) -> Inline:
    metric, pair = code(finding.metric), _pair(finding)
    if pair is not None and not finding.null and finding.direction in THAN:
        more, less = ("higher", "lower") if finding.direction == "greater" else ("lower", "higher")
        return text(
            metric, " under ", code(pair[0]), f" is {more} than at ", _condition(pair[1]), f" more often than {less}"
        )  # fmt: skip
    quantity = text(QUANTITY["sign"], " ", metric, ", ", compared(finding))
    return text(quantity, f" (share of units up less share down), {_beyond_null(finding)}")


def _sharp_claim(finding: Finding) -> Inline:
    which = {"greater": ", upwards", "less": ", downwards", "two_sided": ""}[finding.direction]
    about = " (test of no change at all, not of a mean)"
    pair = _pair(finding)
    if pair is None:
        return text(code(finding.metric), " changes in ", compared(finding), which, about)
    return text(
        code(pair[0]), " changes ", code(finding.metric), " against ", _condition(pair[1]), which, about
    )


def _beyond_null(finding: Finding) -> str:
    words = {"greater": "is above", "less": "is below", "two_sided": "differs from"}
    return f"{words[finding.direction]} {_exact(finding.null)}"


def _exact(value: float) -> str:
    """A number that somebody typed, with its digits."""
    return number(value, 12) if value else "0"


def _condition(name: str) -> Span:
    """A condition's name; `baseline` is a word of the house and stands as one."""
    return Span(name) if name == BASELINE else code(name)


def _pair(finding: Finding) -> tuple[str, str] | None:
    """The two conditions of a plain difference, or None for a wider contrast."""
    up = [c for c, k in finding.contrast.items() if k == 1]
    down = [c for c, k in finding.contrast.items() if k == -1]
    return (up[0], down[0]) if len(finding.contrast) == 2 and up and down else None
