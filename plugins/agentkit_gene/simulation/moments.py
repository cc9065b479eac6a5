"""The noise-free physics: levels of every condition by `ode`, with variances by `lna`, and what can be read off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from agentkit_gene.simulation.lna import variances
from agentkit_gene.simulation.readout import CHANGED_LOG2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit_gene.simulation.model import Model
    from agentkit_gene.simulation.perturbation import Perturbation
    from agentkit_gene.simulation.program import Floats


@dataclass(frozen=True)
class Moments:
    """Stationary moments of one condition: mean and, with `lna`, variance; (genes, types) each."""

    mean: Floats
    variance: Floats | None


def moments_of(
    model: Model, perturbations: Sequence[Perturbation], *, lna: bool, q: float = 1.0, form: str = "dpd"
) -> dict[str, Moments]:
    """Moments of the baseline and of every condition, by name.

    Raises:
        NoSteadyStateError: the wild type or a condition has no stable steady state.
    """
    program = model.program(model.effects(perturbations), everything=lna)
    level = model.rest_of(program).level
    spread = variances(model, program, level, q=q, form=form) if lna else None
    level = level * model.read_gain
    base = program.baseline_rows()
    found = {}
    for name, row_of in zip(program.conditions, program.row_of, strict=True):
        rows = base.copy()
        for gene, row in row_of.items():
            rows[gene] = row
        found[name] = Moments(level[rows], None if spread is None else spread[rows])
    return found


def metrics_of(
    moments: Moments,
    baseline: Moments,
    read: Sequence[int],
    scale: Floats,
    threshold: Floats,
    types: Sequence[int],
) -> dict[str, float]:
    """`level`, `level_rel`, `frac_on`, `affected`, and `fano` where there is a variance."""
    mean = moments.mean[:, types]
    genes = np.array(read)
    m = mean[genes].mean(axis=1)
    new, old = mean.mean(axis=1), baseline.mean[:, types].mean(axis=1)
    found = {
        "level": float(m.mean()),
        "level_rel": float((m / (m + scale[genes])).mean()),
        "affected": float((np.abs(np.log2((new + 1) / (old + 1))) >= CHANGED_LOG2).mean()),
    }
    limit = threshold[genes, None]
    if moments.variance is None:
        found["frac_on"] = float((mean[genes] > limit).mean())
        return found
    variance = moments.variance[genes][:, types]
    sd = np.sqrt(np.maximum(variance, 1e-300))
    found["frac_on"] = float(ndtr((mean[genes] - limit) / sd).mean())
    found["fano"] = float(
        np.divide(variance, mean[genes], out=np.zeros_like(variance), where=mean[genes] > 0).mean()
    )
    return found
