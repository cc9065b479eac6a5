"""Simple predictors that always run beside a prediction. Deltas are (perturbations, genes)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agentkit_gene.simulation.panel import COMPONENTS, Group, Panel, genes_of, single_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit_gene.simulation.program import Floats

RIDGE = 0.1


def perturbed_mean(panel: Panel, train: Sequence[str], test: Sequence[str]) -> Floats:
    """The mean of the training effects, for every perturbation alike."""
    mean = np.mean([panel.delta(n) for n in train], axis=0)
    return np.tile(mean, (len(test), 1))


def control(panel: Panel, train: Sequence[str], test: Sequence[str]) -> Floats:
    """No effect."""
    return np.zeros((len(test), len(panel.genes)))


def additive(panel: Panel, train: Sequence[str], test: Sequence[str]) -> Floats:
    """Sum of the parts' single effects; the perturbed mean stands in for a part never seen alone in training."""
    mean = np.mean([panel.delta(n) for n in train], axis=0)
    known = set(train)
    parts = [[panel.delta(s) if s in known else mean for s in single_of(n)] for n in test]
    return np.array([np.sum(p, axis=0) for p in parts])


def linear(panel: Panel, train: Sequence[str], test: Sequence[str]) -> Floats:
    """Ridge regression between gene loadings: delta = G W g(perturbation) + mean.

    G holds the loadings of the genes on the top principal components of the training effects; a perturbation is the
    sum of its genes' loadings (after Ahlmann-Eltze, Huber & Anders 2025; ridge and component number ours).
    """
    effects = np.array([panel.delta(n) for n in train])
    mean = effects.mean(axis=0)
    loadings = np.linalg.svd(effects - mean, full_matrices=False)[2][:COMPONENTS].T
    place = {g: i for i, g in enumerate(panel.genes)}

    def embedded(names: Sequence[str]) -> Floats:
        rows = [[place[g] for g in genes_of(n) if g in place] for n in names]
        return np.array([loadings[r].sum(axis=0) for r in rows])

    p = embedded(train)
    k = np.eye(loadings.shape[1])
    left = np.linalg.solve(loadings.T @ loadings + RIDGE * k, loadings.T @ (effects - mean).T @ p)
    weights = left @ np.linalg.inv(p.T @ p + RIDGE * k)
    return np.asarray((loadings @ weights @ embedded(test).T).T + mean)


class TransportMaps:
    """Linear (Gaussian) optimal transport from the control cells to each single perturbation of the training set.

    T(x) = m + M (x - m0) with M = S0^-1/2 (S0^1/2 S S0^1/2)^1/2 S0^-1/2 on the control's principal axes (Bures;
    Peyre & Cuturi 2019). A combination is the maps one after the other, averaged over both orders; what lies
    outside the axes is added up. A part never seen alone moves every cell by the perturbed mean.
    """

    def __init__(self, panel: Panel, train: Sequence[str]) -> None:
        self._panel = panel
        mean = np.mean([panel.delta(n) for n in train], axis=0)
        self._stranger = mean
        self._known = set(train)
        k = panel.axes.shape[0]
        self._root, self._inverse_root = _roots(_covariance(panel.control, k))
        self._maps: dict[str, tuple[Floats, Floats]] = {}

    def cells(self, name: str) -> Floats:
        """The control cells moved to where the perturbation should put them, (cells, components)."""
        start = self._panel.control.scores
        parts = single_of(name)
        orders = [parts, parts[::-1]] if len(parts) > 1 else [parts]
        return np.asarray(np.mean([self._through(start, order) for order in orders], axis=0))

    def delta(self, name: str) -> Floats:
        """Change of the mean, (genes,)."""
        axes = self._panel.axes
        along = self.cells(name).mean(axis=0) - self._panel.control.scores.mean(axis=0)
        total = np.sum([self._shift(s) for s in single_of(name)], axis=0)
        return np.asarray(total - (total @ axes.T) @ axes + along @ axes)

    def _shift(self, single: str) -> Floats:
        return self._panel.delta(single) if single in self._known else self._stranger

    def _through(self, x: Floats, order: Sequence[str]) -> Floats:
        for single in order:
            if single in self._known:
                offset, matrix = self._map(single)
                x = offset + (x - self._panel.control.scores.mean(axis=0)) @ matrix.T
            else:
                x = x + self._stranger @ self._panel.axes.T
        return x

    def _map(self, single: str) -> tuple[Floats, Floats]:
        if single not in self._maps:
            group = self._panel.groups[single]
            middle, _ = _roots(self._root @ _covariance(group, len(self._root)) @ self._root)
            self._maps[single] = group.scores.mean(axis=0), self._inverse_root @ middle @ self._inverse_root
        return self._maps[single]


def _covariance(group: Group, size: int) -> Floats:
    """Covariance of the projected cells; a little is added so that silent axes stay invertible."""
    return np.atleast_2d(np.cov(group.scores, rowvar=False)) + 1e-6 * np.eye(size)


def _roots(matrix: Floats) -> tuple[Floats, Floats]:
    """(square root, inverse square root) of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    root = np.sqrt(np.maximum(values, 1e-12))
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T


def transport(panel: Panel, train: Sequence[str], test: Sequence[str]) -> Floats:
    """Change of the mean under linear optimal transport."""
    maps = TransportMaps(panel, train)
    return np.array([maps.delta(n) for n in test])


BASELINES = {
    "base:control": control,
    "base:additive": additive,
    "base:linear": linear,
    "base:ot": transport,
}
