"""The +-1 factors of a zeroth-order probe: the rule `NOISE_VERSION`, equal on every machine.

Rule `philox4x64-bits-1`: Philox4x64-10 with key (run_seed, step << 32 | worker << 16 | sample) and counter
(0, 0, 0, index), index being the matrix's place in the sorted target list, from 1. The 64-bit outputs are
laid out little-endian, the bits of a byte are read from the most significant, 1 is +1 and 0 is -1. The
first k m signs are U (m, k) row by row, the next k n are V (k, n). Rank 0 means a dense Z: m n signs, row by row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NOISE_VERSION = "philox4x64-bits-1"

Signs = tuple["NDArray[np.int8]", "NDArray[np.int8]"]
"""U (m, k) and V (k, n), entries +-1; at rank 0 the first is a dense (m, n) and the second is empty."""


def sign_factors(
    run_seed: int, step: int, worker: int, sample: int, shapes: Sequence[tuple[int, int]], rank: int
) -> list[Signs]:
    """U and V for every target matrix of one probe, in the order of `shapes` (m, n).

    One generator is moved from matrix to matrix: making a new one for each costs five times as much.
    """
    generator = np.random.Philox(key=0)
    state = generator.state
    state["state"]["key"][:] = (run_seed, step << 32 | worker << 16 | sample)
    factors: list[Signs] = []
    for index, (m, n) in enumerate(shapes, start=1):
        state["state"]["counter"][:] = (0, 0, 0, index)
        state["buffer_pos"] = 4  # nothing buffered: the next draw starts at the counter
        generator.state = state
        if rank == 0:
            factors.append((_signs(generator, m * n).reshape(m, n), np.empty((0, n), np.int8)))
            continue
        signs = _signs(generator, rank * (m + n))
        factors.append((signs[: rank * m].reshape(m, rank), signs[rank * m :].reshape(rank, n)))
    return factors


def _signs(generator: np.random.Philox, count: int) -> NDArray[np.int8]:
    words = np.asarray(generator.random_raw(-(-count // 64)), dtype="<u8")
    bits = np.unpackbits(words.view(np.uint8), count=count, bitorder="big")
    return (bits.astype(np.int8) << 1) - 1
