"""How far two clouds of cells are apart: E-distance and MMD, means over pairs of different cells only.

Under common random numbers cell i of both clouds shares its noise, so pairs i = j must not count; then no effect
gives exactly 0. Szekely & Rizzo 2013; Gretton et al. 2012.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agentkit_gene.simulation.program import Floats

VARIANTS = ("unbiased", "pertpy", "scperturb")


@dataclass(frozen=True)
class Cloud:
    """The baseline cells of one type, ready to be compared with.

    Attributes:
        log: (genes, cells) log1p levels, float64.
        square: (cells, cells) squared distances.
        scale: sigma of the MMD kernel: the median distance between two baseline cells.
    """

    log: Floats
    square: Floats
    scale: float

    @classmethod
    def of(cls, level: NDArray[np.float32]) -> Cloud:
        """From levels (genes, cells)."""
        log = np.log1p(level.astype(np.float64))
        square = squared_distances(log, log)
        between = np.sqrt(square[np.triu_indices(len(square), 1)])
        return cls(log, square, float(np.median(between)) or 1.0)

    def squares_with(
        self, genes: NDArray[np.int64], other: NDArray[np.float32]
    ) -> tuple[Floats, Floats, Floats]:
        """Squared distances within the baseline, between, and within `other`, which differs in `genes` only.

        All three take the same path, so equal cells give equal numbers, bit for bit. `other` is (len(genes), cells).
        """
        mine = np.ascontiguousarray(self.log[genes])
        log = np.log1p(other.astype(np.float64))
        own = squared_distances(mine, mine)
        rest = self.square - own
        pairs = (own, squared_distances(mine, log), squared_distances(log, log))
        xx, xy, yy = (np.maximum(rest + p, 0) for p in pairs)
        np.fill_diagonal(xx, 0)
        np.fill_diagonal(yy, 0)
        return xx, xy, yy


def squared_distances(a: Floats, b: Floats) -> Floats:
    """Squared Euclidean distances between columns: (genes, n) and (genes, m) give (n, m)."""
    if len(a) == 0:
        return np.zeros((a.shape[1], b.shape[1]))
    first, second = torch.from_numpy(a), torch.from_numpy(b.copy())
    square = (first * first).sum(0)[:, None] + (second * second).sum(0)[None, :]
    return (square - 2 * torch.mm(first.T, second)).clamp_min_(0).numpy()


def energy_distance(xx: Floats, xy: Floats, yy: Floats, variant: str = "unbiased") -> float:
    """2 E|X-Y| - E|X-X'| - E|Y-Y'| from squared distances.

    Args:
        xx: (cells, cells) squared distances within the baseline.
        xy: between baseline and condition.
        yy: within the condition.
        variant: `unbiased` drops pairs i = j everywhere; `pertpy` keeps the diagonal (divides by n^2);
            `scperturb` uses squared distances, diagonal kept.
    """
    if variant == "unbiased":
        return _balanced(*(_off_diagonal_mean(np.sqrt(m)) for m in (xx, xy, yy)))
    if variant == "pertpy":
        return _balanced(*(float(np.sqrt(m).mean()) for m in (xx, xy, yy)))
    if variant == "scperturb":
        return _balanced(*(float(m.mean()) for m in (xx, xy, yy)))
    raise ValueError(f"variant {variant!r}; known: {', '.join(VARIANTS)}")


def mmd(xx: Floats, xy: Floats, yy: Floats, scale: float) -> float:
    """Squared maximum mean discrepancy with kernel exp(-d^2 / 2 scale^2), pairs i = j dropped; may be below 0."""
    return -_balanced(*(_off_diagonal_mean(np.exp(-m / (2 * scale * scale))) for m in (xx, xy, yy)))


def _balanced(xx: float, xy: float, yy: float) -> float:
    return 2 * xy - xx - yy


def _off_diagonal_mean(m: Floats) -> float:
    n = len(m)
    off = m.copy()
    np.fill_diagonal(off, 0)
    return float(off.sum() / (n * (n - 1)))
