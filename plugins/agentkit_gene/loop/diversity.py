"""Pickers that cover the features and learn nothing from results: `coreset` and `kmeans`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agentkit_gene.loop.pickers import Ranking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.screen import View

LLOYD_STEPS = 10
"""Assignments hardly move after ten steps, and the centres only place picks."""


class CoresetPicker:
    """Greedy farthest point: each pick is the gene farthest from everything tested or picked."""

    name = "coreset"
    version = "1"

    def __init__(self, knowledge: Knowledge) -> None:
        self.x = knowledge.x

    def propose(self, views: Sequence[View]) -> list[Ranking]:
        """Scores fall with the order of choice; other genes have 0."""
        return [_in_order(view, farthest(self.x, view)) for view in views]


def farthest(x: NDArray[np.float32], view: View) -> list[int]:
    """Rows in the order of choice; the first one is random when nothing is tested."""
    squares = (x**2).sum(axis=1)
    nearest = np.full(len(x), np.inf, dtype=np.float32)
    for row in view.tested:
        np.minimum(nearest, _distances(x, squares, int(row)), out=nearest)
    nearest[~view.untested] = -np.inf
    noise = view.uniforms("coreset")
    chosen: list[int] = []
    for _ in range(view.batch):
        top = np.flatnonzero(nearest == nearest.max())
        row = int(top[noise[top].argmax()])
        chosen.append(row)
        np.minimum(nearest, _distances(x, squares, row), out=nearest)
        nearest[row] = -np.inf
    return chosen


def _distances(x: NDArray[np.float32], squares: NDArray[np.float32], row: int) -> NDArray[np.float32]:
    return np.asarray(np.maximum(squares + squares[row] - 2 * (x @ x[row]), 0))


class KMeansPicker:
    """The gene nearest to each of B centres of the untested genes."""

    name = "kmeans"
    version = "1"

    def __init__(self, knowledge: Knowledge) -> None:
        self.x = knowledge.x

    def propose(self, views: Sequence[View]) -> list[Ranking]:
        """Ten steps of Lloyd's algorithm from genes drawn at random."""
        return [_in_order(view, nearest_to_centres(self.x, view)) for view in views]


def nearest_to_centres(x: NDArray[np.float32], view: View) -> list[int]:
    """One distinct untested row a centre."""
    rows = np.flatnonzero(view.untested)
    points = x[rows]
    start = np.argsort(view.uniforms("kmeans")[rows], kind="stable")[: view.batch]
    centres = points[start].astype(np.float64)
    for _ in range(LLOYD_STEPS):
        nearest = (0.5 * (centres**2).sum(axis=1)[:, None] - centres @ points.T).argmin(axis=0)
        members = np.bincount(nearest, minlength=len(centres))
        summed = np.zeros_like(centres)
        np.add.at(summed, nearest, points)
        centres = np.where(members[:, None] > 0, summed / np.maximum(members, 1)[:, None], centres)
    away = 0.5 * (points.astype(np.float64) ** 2).sum(axis=1)[:, None] - points @ centres.T
    chosen: list[int] = []
    for c in range(len(centres)):
        i = int(away[:, c].argmin())
        chosen.append(int(rows[i]))
        away[i] = np.inf
    return chosen


def _in_order(view: View, rows: list[int]) -> Ranking:
    scores = np.zeros(len(view.library))
    scores[rows] = 1 - np.arange(len(rows)) / len(rows)
    return Ranking.of([("order", 1.0, scores)])
