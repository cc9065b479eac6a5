"""Ranks with ties, and random numbers keyed by gene name: no row order can reach a pick."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from agentkit import derive_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

Floats = "NDArray[np.float64]"


def rank(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """(position in ascending order - 1) / n; tied values share their mean position. Range [0, 1)."""
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.diff(np.r_[starts, n])
    out = np.empty(n)
    out[order] = np.repeat(starts + (counts - 1) / 2, counts) / n
    return out


def normal_score(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quantile of a standard normal at the middle of each rank's step: the best of n genes is at 1 - 1/(2n).

    Scores of several rankings add up to Stouffer's combination of one-sided tests (The American Soldier, 1949): the best
    hundredth of one ranking says more than being a little above the middle of two, which a sum of ranks cannot tell.
    """
    scores: NDArray[np.float64] = ndtri(
        np.clip(ranks + 0.5 / len(ranks), 0.5 / len(ranks), 1 - 0.5 / len(ranks))
    )
    return scores


@lru_cache(maxsize=8)
def gene_keys(symbols: tuple[str, ...]) -> NDArray[np.uint64]:
    """64 bits of SHA-256 of each symbol."""
    keys = [int.from_bytes(hashlib.sha256(s.encode()).digest()[:8], "big") for s in symbols]
    return np.array(keys, dtype=np.uint64)


def keyed_uniforms(symbols: tuple[str, ...], *parts: object) -> NDArray[np.float64]:
    """One uniform in (0, 1) per gene, a function of the gene's name and `parts` (seed, purpose, round) alone.

    The finaliser is SplitMix64's (Steele, Lea, Flood, OOPSLA 2014).
    """
    with np.errstate(over="ignore"):
        z = gene_keys(symbols) ^ np.uint64(derive_seed(*parts))
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def keyed_normals(symbols: tuple[str, ...], *parts: object) -> NDArray[np.float64]:
    """One standard normal per gene, keyed like `keyed_uniforms`."""
    drawn: NDArray[np.float64] = ndtri(keyed_uniforms(symbols, *parts))
    return drawn
