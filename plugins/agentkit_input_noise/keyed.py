"""Randomness as a keyed hash: an item's noise depends on (key, item, position) and on nothing else.

No batch, order, worker or neighbour can change it, and because one hash decides at every strength, edits
are nested: what is edited at strength p is edited in the same way at every larger strength.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

GOLDEN = np.uint32(0x9E3779B9)
SECOND_STREAM = np.uint32(0x85EBCA6B)


def mix32(z: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A bijection of 32-bit words whose output bits all depend on all input bits (wrapping arithmetic)."""
    z = z ^ (z >> np.uint32(16))
    z *= np.uint32(0x21F0AAAD)
    z ^= z >> np.uint32(15)
    z *= np.uint32(0x735A2D97)
    z ^= z >> np.uint32(15)
    return z


def mix64(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64 (Steele, Lea and Flood, 2014)."""
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def item_hash(key: int, items: ArrayLike) -> NDArray[np.uint32]:
    """One word per item id, shape (items,): the high half of `mix64(item xor key)`."""
    ids = np.asarray(items, dtype=np.uint64)
    return (mix64(ids ^ np.uint64(key & 0xFFFFFFFFFFFFFFFF)) >> np.uint64(32)).astype(np.uint32)


def position_hashes(key: int, items: ArrayLike, lengths: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The word that decides about each position of each item, items end to end, shape (sum of lengths,).

    Position j of an item has `mix32(item_hash + j * GOLDEN)`; all positions are counted through, so each
    item starts from a value that takes back what was counted before it.
    """
    before = (np.cumsum(lengths) - lengths).astype(np.uint32)
    start = item_hash(key, items) - before * GOLDEN
    return mix32(np.repeat(start, lengths) + np.arange(lengths.sum(), dtype=np.uint32) * GOLDEN)


def below(hashes: NDArray[np.uint32], p: float) -> NDArray[np.bool_]:
    """Which positions are edited at strength p in [0, 1]: a share p of them, nested in p."""
    if p >= 1:
        return np.ones(hashes.shape, dtype=np.bool_)
    return hashes < np.uint32(p * 2.0**32)


def second(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A second word of the same position, independent of whether `below` edits it."""
    return mix32(hashes + SECOND_STREAM)


def choice(hashes: NDArray[np.uint32], n: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The second word reduced to 0 .. n-1 (0 where n is 0), same shapes."""
    return second(hashes) % np.maximum(n, np.uint32(1))


def stream_key(rng: np.random.Generator) -> int:
    """64 random bits: the key of one kind of noise in one unit."""
    return int(rng.integers(0, 1 << 64, dtype=np.uint64))
