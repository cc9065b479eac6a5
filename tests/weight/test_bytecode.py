"""One byte per probe, and coefficients that make every step one rounding."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from agentkit_weight import bytecode


def test_every_byte_survives_decode_then_encode():
    for byte in range(256):
        value = bytecode.decode(byte)
        assert bytecode.decode(bytecode.encode(value)) == value
    assert [b for b in range(256) if bytecode.decode(b) == 0] == [0, 128]


def test_the_code_is_sign_symmetric_and_monotone():
    positive = [bytecode.decode(b) for b in range(1, 128)]
    assert positive == sorted(set(positive))
    assert [bytecode.decode(b | 128) for b in range(1, 128)] == [-v for v in positive]


def test_what_is_no_gradient_is_a_skip():
    assert [bytecode.encode(g) for g in (0.0, -0.0, math.nan, math.inf, -math.inf)] == [0] * 5


@given(st.floats(2**-7.8, 2**7.8), st.booleans())
def test_the_error_of_the_code_is_at_most_4_4_percent(size: float, negative: bool):
    gradient = -size if negative else size
    assert abs(bytecode.decode(bytecode.encode(gradient)) / gradient - 1) <= 0.0443


@given(st.integers(0, 255), st.integers(1, 16), st.integers(1, 64), st.floats(1e-6, 1.0))
def test_a_coefficient_times_any_direction_is_exact_in_float32(byte: int, rank: int, probes: int, lr: float):
    import numpy as np

    factor = bytecode.coefficient(byte, lr, probes, rank)
    for z in (1, rank, 4095):
        assert float(np.float32(factor) * np.float32(z)) == factor * z


def test_saturation_counts_both_ends():
    assert bytecode.saturated([1, 127, 129, 255, 64, 65, 66, 67]) == 0.5


def test_the_table_hash_depends_on_everything_that_makes_a_coefficient():
    hashes = {
        bytecode.table_sha256(lr, s, p, k)
        for lr in (1e-3, 2e-3)
        for s in (4, 5)
        for p in (1, 2)
        for k in (1, 4)
    }
    assert len(hashes) == 16
