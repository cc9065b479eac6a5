"""One byte per probe: how a projected gradient is written, read, and turned into an exact step.

Byte 0 is a skip (the gradient is zero or not finite). Otherwise bit 7 is the sign and the low seven bits
hold e in 1..127 for |g| = 2^((e - 64) / 8): range 2^-7.9 to 2^7.9, steps of 9 %, so the error is at
most 4.4 % of |g|.

The step's coefficient has a mantissa of 12 bits. A +-1 low-rank direction Z has integer entries below 4096 in
size, so coefficient * Z is exact in float32 and adding it to a weight is one IEEE rounding: the same bits
from any implementation, with or without fused multiply-add.
"""

from __future__ import annotations

import hashlib
import math
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SKIP = 0
_SIGN = 0x80
_EIGHTHS = tuple(  # 2^(j/8), written out: a machine's own pow may differ in the last bit
    float.fromhex(text)
    for text in (
        "0x1.0000000000000p+0",
        "0x1.172b83c7d517bp+0",
        "0x1.306fe0a31b715p+0",
        "0x1.4bfdad5362a27p+0",
        "0x1.6a09e667f3bcdp+0",
        "0x1.8ace5422aa0dbp+0",
        "0x1.ae89f995ad3adp+0",
        "0x1.d5818dcfba487p+0",
    )
)


def encode(gradient: float) -> int:
    """The byte of a projected gradient; 0 for zero, NaN and infinities."""
    if gradient == 0 or not math.isfinite(gradient):
        return SKIP
    exponent = min(127, max(1, round(8 * math.log2(abs(gradient))) + 64))
    return exponent | (_SIGN if gradient < 0 else 0)


def decode(byte: int) -> float:
    """The gradient a byte stands for; 0.0 for a skip (0, and 128, which nothing encodes to)."""
    exponent = byte & 0x7F
    if exponent == 0:
        return 0.0
    whole, eighth = divmod(exponent - 64, 8)
    size = math.ldexp(_EIGHTHS[eighth], whole)
    return -size if byte & _SIGN else size


def saturated(bytes_: Iterable[int]) -> float:
    """Share of the bytes that lie at an end of the code's range (e = 1 or 127), in [0, 1]."""
    values = [b & 0x7F for b in bytes_]
    return sum(v in (1, 127) for v in values) / max(1, len(values))


def round_to_12_bits(value: float) -> float:
    """`value` with a mantissa of 12 bits, ties to even."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(mantissa * 4096), exponent - 12)


def linear_decay(lr: float, step: int, steps: int) -> float:
    """The learning rate of a step (from 0): `lr` at first, one step short of zero at last."""
    return lr * (steps - step) / steps


def coefficient(byte: int, lr_step: float, probes: int, rank: int) -> float:
    """What Z is multiplied with: -lr g / (probes rank), 12-bit mantissa.

    `probes` counts all probes of a step, over workers and samples, whoever answered. The division by
    `rank` is what makes the estimate unbiased: E[Z Z' g] = rank g for Z = U V.
    """
    return round_to_12_bits(-lr_step * decode(byte) / (probes * rank))


def table_sha256(lr: float, steps: int, probes: int, rank: int) -> str:
    """Hash of everything that turns a byte into a coefficient, so that two machines can compare it."""
    digest = hashlib.sha256(struct.pack("<dqqq", lr, steps, probes, rank))
    for byte in range(256):
        digest.update(struct.pack("<d", decode(byte)))
    rates = [linear_decay(lr, step, steps) for step in range(steps)]
    digest.update(struct.pack(f"<{steps}d", *rates))
    for rate in rates[:1]:
        digest.update(struct.pack("<256d", *(coefficient(byte, rate, probes, rank) for byte in range(256))))
    return digest.hexdigest()
