"""From cells to the numbers a tool reports: one class per condition view, metrics averaged over read genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agentkit_gene.simulation.distances import Cloud, energy_distance, mmd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agentkit_gene.simulation.program import Floats, Ints

CHANGED_LOG2 = 0.25
"""A gene counts as affected when |log2((m + 1) / (m_baseline + 1))| reaches this."""


@dataclass(frozen=True)
class View:
    """Cells of one condition: only the genes that may differ from the baseline.

    Attributes:
        genes: (k,) their indices, ascending.
        level: (k, types, cells).
        boundary: (k,) share of steps at the clamp, per gene.
    """

    genes: Ints
    level: NDArray[np.float32]
    boundary: Floats


@dataclass(frozen=True)
class Reader:
    """Computes the metrics of a condition against the baseline of the same unit.

    Attributes:
        baseline: levels of every gene, (genes, types, cells).
        baseline_boundary: (genes,).
        read: indices of the genes read.
        scale: m0 per gene; threshold: level above which a gene is on, per gene.
        clouds: per type the baseline cells prepared for distances; empty when none are wanted.
    """

    baseline: NDArray[np.float32]
    baseline_boundary: Floats
    read: Sequence[int]
    scale: Floats
    threshold: Floats
    clouds: Sequence[Cloud] = ()

    def baseline_view(self) -> View:
        """The baseline seen as a condition: nothing differs."""
        none = np.zeros(0, dtype=np.int64)
        return View(none, self.baseline[:0], np.zeros(0))

    def metrics(self, view: View, wanted: Sequence[str]) -> dict[str, float]:
        """Values by name; `wanted` is a subset of the declared metrics."""
        at = {int(g): k for k, g in enumerate(view.genes)}
        levels = [view.level[at[g]] if g in at else self.baseline[g] for g in self.read]
        found = {
            name: float(np.mean([_OF_GENE[name](x) for x in levels])) for name in _OF_GENE if name in wanted
        }
        means = [float(x.mean(dtype=np.float64)) for x in levels]
        if "level_rel" in wanted:
            found["level_rel"] = float(
                np.mean([m / (m + self.scale[g]) for m, g in zip(means, self.read, strict=True)])
            )
        if "frac_on" in wanted:
            found["frac_on"] = float(
                np.mean([(x > self.threshold[g]).mean() for x, g in zip(levels, self.read, strict=True)])
            )
        if "affected" in wanted:
            found["affected"] = affected(self.means(), view)
        if "boundary" in wanted:
            own = self.baseline_boundary.copy()
            own[view.genes] = view.boundary
            found["boundary"] = float(own.mean())
        return found | self.distances(view, wanted)

    def means(self) -> Floats:
        """Mean level of every gene of the baseline over types and cells."""
        return np.asarray(self.baseline.mean(axis=(1, 2), dtype=np.float64))

    def log_means(self, view: View) -> Floats:
        """Pseudobulk mean of log1p of every gene, (genes,)."""
        found = log_mean(self.baseline)
        found[view.genes] = log_mean(view.level)
        return found

    def distances(self, view: View, wanted: Sequence[str]) -> dict[str, float]:
        """`shift` and `mmd`, averaged over types."""
        names = [n for n in ("shift", "mmd") if n in wanted]
        if not names or not self.clouds:
            return {}
        found: dict[str, list[float]] = {n: [] for n in names}
        for t, cloud in enumerate(self.clouds):
            xx, xy, yy = cloud.squares_with(view.genes, view.level[:, t])
            if "shift" in found:
                found["shift"].append(energy_distance(xx, xy, yy))
            if "mmd" in found:
                found["mmd"].append(mmd(xx, xy, yy, cloud.scale))
        return {name: float(np.mean(values)) for name, values in found.items()}


def affected(baseline_means: Floats, view: View) -> float:
    """Share of all genes whose mean level changed by a quarter of a doubling or more (pseudocount 1)."""
    if not len(view.genes):
        return 0.0
    new = view.level.mean(axis=(1, 2), dtype=np.float64)
    change = np.log2((new + 1) / (baseline_means[view.genes] + 1))
    return float((np.abs(change) >= CHANGED_LOG2).sum() / len(baseline_means))


def log_mean(level: NDArray[np.float32]) -> Floats:
    """Mean over types and cells of log1p, per gene."""
    return np.asarray(np.log1p(level.astype(np.float64)).mean(axis=(1, 2)))


def _fano(x: NDArray[np.float32]) -> float:
    """Variance over mean within each type, averaged over types; 0 for a silent gene."""
    wide = x.astype(np.float64)
    mean, var = wide.mean(axis=1), wide.var(axis=1, ddof=1)
    return float(np.mean(np.divide(var, mean, out=np.zeros_like(mean), where=mean > 0)))


_OF_GENE = {
    "level": lambda x: float(x.mean(dtype=np.float64)),
    "zero_frac": lambda x: float((x == 0).mean()),
    "fano": _fano,
}


def epistasis(pair: Floats, first: Floats, second: Floats, baseline: Floats, read: Sequence[int]) -> float:
    """delta_AB - delta_A - delta_B of log1p pseudobulk, averaged over the genes read."""
    return float(np.mean([pair[g] - first[g] - second[g] + baseline[g] for g in read]))


def rows_by_gene(row_of: Mapping[int, int]) -> tuple[Ints, Ints]:
    """(genes ascending, their rows) of one condition."""
    genes = np.array(sorted(row_of), dtype=np.int64)
    return genes, np.array([row_of[int(g)] for g in genes], dtype=np.int64)
