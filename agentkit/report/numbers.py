"""Numbers as a reader needs them: as many digits as the interval earns, a true minus sign, ends rounded outwards."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

MINUS = "−"
NONE = "–"
MOST_DECIMALS = 12


def number(value: float | None, digits: int = 3) -> str:
    """`value` to `digits` significant digits, without trailing zeros; an en dash for None."""
    if value is None:
        return NONE
    if not math.isfinite(value):
        return ("" if value > 0 else MINUS) + "∞" if not math.isnan(value) else NONE
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    return _signed(text)


def fixed(value: float | None, decimals: int) -> str:
    """`value` with exactly so many decimals, rounded to nearest; an en dash for None."""
    return NONE if value is None else _round(value, decimals, ROUND_HALF_EVEN)


def plus(value: float, decimals: int) -> str:
    """`fixed` with a plus sign in front of what is above zero after rounding."""
    text = fixed(value, decimals)
    return f"+{text}" if value > 0 and text.strip("0.") else text


def decimals_for(spread: float, digits: int = 2) -> int:
    """Decimals that show `digits` significant digits of `spread` (a half-width, a range); 0 to 12."""
    if not (math.isfinite(spread) and spread > 0):
        return digits + 1
    return min(max(digits - 1 - math.floor(math.log10(spread)), 0), MOST_DECIMALS)


def interval(lo: float | None, hi: float | None, decimals: int, landmarks: tuple[float, ...] = ()) -> str:
    """`[lo, hi]` rounded outwards, so that the printed interval covers the true one.

    More decimals are shown where rounding would put an end on the wrong side of, or onto, a landmark
    (the null, the band of the smallest effect of interest). A missing end is unbounded.
    """
    enough = next(
        (d for d in range(decimals, MOST_DECIMALS + 1) if _keeps_sides(lo, hi, d, landmarks)), MOST_DECIMALS
    )
    left = f"{MINUS}∞" if lo is None else _round(lo, enough, ROUND_FLOOR)
    right = "∞" if hi is None else _round(hi, enough, ROUND_CEILING)
    return f"[{left}, {right}]"


def _keeps_sides(lo: float | None, hi: float | None, decimals: int, landmarks: tuple[float, ...]) -> bool:
    ends = [(end, mode) for end, mode in ((lo, ROUND_FLOOR), (hi, ROUND_CEILING)) if end is not None]
    return all(
        _side(end, mark) == _side(float(_decimal(end, decimals, mode)), mark)
        for end, mode in ends
        for mark in landmarks
    )


def _side(value: float, mark: float) -> int:
    return (value > mark) - (value < mark)


def _decimal(value: float, decimals: int, mode: str) -> Decimal:
    step = Decimal(1).scaleb(-decimals)
    # repr, not the binary value: an end stored as 0.1 is the number 0.1 to a reader
    return Decimal(repr(float(value))).quantize(step, rounding=mode)


def _round(value: float, decimals: int, mode: str) -> str:
    if not math.isfinite(value):
        return number(value)
    return _signed(f"{_decimal(value, decimals, mode):f}")


def _signed(text: str) -> str:
    bare = text.removeprefix("-")
    negative = text.startswith("-") and any(c in "123456789" for c in bare)
    return (MINUS if negative else "") + bare
