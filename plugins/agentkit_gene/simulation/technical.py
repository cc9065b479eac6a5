"""Technical noise of droplet sequencing in SERGIO's order: outlier genes, library size, dropout, counting.

What belongs to the experiment (which genes are outliers, where dropout sets in, the wild type's mean total) is taken
from the unit's baseline and frozen: otherwise a perturbation of one gene would change every gene's noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import expit, ndtri

from agentkit_gene.simulation import coupled, philox
from agentkit_gene.simulation.philox import LANES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agentkit_gene.simulation.params import Technical
    from agentkit_gene.simulation.program import Floats


@dataclass(frozen=True)
class Sequencer:
    """Turns levels into counts for one unit; the same cell gets the same noise in every condition.

    Attributes:
        outlier: factor per gene.
        middle: log(1+x) at which half of the entries are dropped.
        baseline_total: mean total of a baseline cell, for `library="factor"`.
    """

    settings: Technical
    seed: int
    types: Sequence[int]
    outlier: Floats
    middle: float
    baseline_total: float

    @classmethod
    def of(
        cls, settings: Technical, seed: int, types: Sequence[int], baseline: NDArray[np.float32]
    ) -> Sequencer:
        """Freeze the experiment's constants on baseline levels (genes, types, cells)."""
        outlier = _outliers(settings, seed, len(baseline))
        spread = baseline * outlier[:, None, None]
        total = float(spread.sum(axis=0).mean()) or 1.0
        bare = cls(settings, seed, types, outlier, 0.0, total)
        scaled = bare._sized(spread)
        middle = float(np.percentile(np.log1p(scaled), settings.dropout_percentile))
        return cls(settings, seed, types, outlier, middle, total)

    def counts(self, level: NDArray[np.float32]) -> NDArray[np.float32]:
        """UMI counts of levels (genes, types, cells)."""
        sized = self._sized(level * self.outlier[:, None, None])
        keep = self._uniforms("dropout", len(level), level.shape[2]) < expit(
            self.settings.dropout_shape * (np.log1p(sized) - self.middle)
        )
        mean = torch.from_numpy(sized * keep)

        def draw(part: int) -> torch.Tensor:
            return torch.from_numpy(self._uniforms(f"umi.{part}", len(level), level.shape[2]))

        return coupled.poisson(mean, draw).numpy().astype(np.float32)

    def _sized(self, level: Floats) -> Floats:
        """Levels with each cell's total at its library size (an empty cell stays empty)."""
        z = ndtri(self._uniforms("library", 1, level.shape[2])[0])
        library = np.exp(self.settings.library_mean + self.settings.library_sd * z)
        if self.settings.library == "factor":
            return np.asarray(level * (library / self.baseline_total))
        total = level.sum(axis=0)
        return np.asarray(level * np.where(total > 0, library / np.where(total > 0, total, 1.0), 0.0))

    def _uniforms(self, purpose: str, rows: int, cells: int) -> Floats:
        """(rows, types, cells), addressed by type and cell like all noise."""
        key = philox.stream_key(self.seed, purpose)
        n = -(-cells // LANES)
        blocks = [(t, b) for t in self.types for b in range(n)]
        drawn = philox.uniforms(key, blocks, 0, rows).view(rows, len(self.types), n * LANES)
        return np.asarray(drawn[:, :, :cells].numpy())


def _outliers(settings: Technical, seed: int, genes: int) -> Floats:
    rows = -(-genes // LANES)
    chosen, size = (
        philox.uniforms(philox.stream_key(seed, "outlier"), [(0, part)], 0, rows).reshape(-1)[:genes].numpy()
        for part in (0, 1)
    )
    factor = np.exp(settings.outlier_mean + settings.outlier_sd * ndtri(size))
    return np.where(chosen < settings.outlier_prob, factor, 1.0)
