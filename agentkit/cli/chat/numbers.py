"""Numbers and durations as a chat shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit.report.claims import numbers_in_words
from agentkit.report.numbers import MINUS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BLOCKS = "▁▂▃▄▅▆▇█"


def shown(value: float | None, digits: int = 3) -> str:
    """Three digits and a true minus sign."""
    return "–" if value is None else f"{value:.{digits}g}".replace("-", MINUS)


def signed(value: float, se: float) -> str:
    """A mean as precise as its standard error: `−0.445 ±0.032`."""
    if se <= 1e-9 * abs(value) or not se:
        return f"{shown(value)} ±0" if value else "0"
    decimals = 0 if se >= 10 else min(6, max(0, 1 - _exponent(se)))
    return f"{value:.{decimals}f} ±{se:.{decimals}f}".replace("-", MINUS)


def _exponent(value: float) -> int:
    return int(f"{value:.0e}".split("e")[1])


def estimate_and_interval(row: Mapping[str, Any]) -> str:
    """`−0.44 [−0.58, −0.11], n=40` from a row of the ledger."""
    lo, hi = (row["lo"], row["hi"]) if "lo" in row else row["interval"]
    estimate, ends = numbers_in_words(
        row.get("estimate"), lo, hi, null=row.get("null") or 0.0, sesoi=row.get("sesoi") or 0.0,
        label=str(row.get("label") or ""),
    )  # fmt: skip
    return f"{estimate} {ends}, n={row['units']}"


def seconds(value: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min`, `2 h`."""
    if value is None:
        return "unknown time"
    if value < 1:
        return f"{max(value, 0.1):.1f} s"
    if value < 100:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 6000 else f"{value / 3600:.1f} h"


def spark(values: Sequence[float]) -> str:
    """Bars of eight heights."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(BLOCKS[round((v - low) / span * (len(BLOCKS) - 1))] for v in values)
