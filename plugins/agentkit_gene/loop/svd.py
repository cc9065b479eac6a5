"""Truncated singular value decomposition by random projection (Halko, Martinsson, Tropp, SIAM Review 2011)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

OVERSAMPLE = 10
ITERATIONS = 4


def left_factors(matrix: csr_matrix, width: int, seed: int = 0) -> NDArray[np.float64]:
    """(rows, width) left singular vectors times singular values; each column's largest loading is positive.

    Narrower when the matrix has fewer rows or columns.
    """
    width = min(width, *matrix.shape)
    drawn = np.random.default_rng(seed).standard_normal(
        (matrix.shape[1], min(width + OVERSAMPLE, *matrix.shape))
    )
    q = np.linalg.qr(matrix @ drawn)[0]
    for _ in range(ITERATIONS):
        q = np.linalg.qr(matrix @ np.linalg.qr(matrix.T @ q)[0])[0]
    small = (matrix.T @ q).T
    u, s, _ = np.linalg.svd(small, full_matrices=False)
    factors = (q @ u[:, :width]) * s[:width]
    largest = np.abs(factors).argmax(axis=0)
    return np.asarray(factors * np.where(factors[largest, np.arange(width)] < 0, -1.0, 1.0))
