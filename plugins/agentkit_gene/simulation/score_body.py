"""What `gene.score` does, unit by unit: truth, split, baselines, predictions, scores, tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit import BASELINE, Measurements, Unit
from agentkit_gene.simulation import baselines, drawing
from agentkit_gene.simulation.cell_table import CONTROL
from agentkit_gene.simulation.conditions import Conditions, swept
from agentkit_gene.simulation.distances import energy_distance, squared_distances
from agentkit_gene.simulation.errors import BadTruthError, NoSteadyStateError
from agentkit_gene.simulation.experiment import Experiment, require_memory
from agentkit_gene.simulation.moments import moments_of
from agentkit_gene.simulation.panel import Panel, build_panel, genes_of, panel_of_file, single_of
from agentkit_gene.simulation.params import SimulationParams, plan_of
from agentkit_gene.simulation.predictions import Predictions, read_predictions
from agentkit_gene.simulation.scores import Truth, all_scores, delta_pearson, nearer_counts, normalised
from agentkit_gene.simulation.tools import CPU

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit import Context
    from agentkit_gene.simulation.network import Network
    from agentkit_gene.simulation.program import Floats
    from agentkit_gene.simulation.score_tool import ScoreParams, SimulatedTruth

CLOUD_CELLS = 200
"""Cells of a cloud that enter its energy distance."""

NON_ZERO = 1e-9


@dataclass(frozen=True)
class Split:
    """Perturbation names to learn from and to be tested on."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def run_score(params: ScoreParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """`gene.score`."""
    truth = _SimulatedTruth(params, ctx) if not isinstance(params.truth, str) else None
    builder = Measurements.builder(units)
    tables: list[dict[str, Any]] = []
    for i, unit in enumerate(units):
        rng = unit.rng("halves")
        panel = truth.panel(unit, rng) if truth else panel_of_file(Path(str(params.truth)), rng)
        split = split_of(panel, params.split, unit)
        files = {
            f"pred:{name}": read_predictions(Path(path), panel.genes, split.test)
            for name, path in sorted(params.predictions.items())
        }
        deltas = _predicted(panel, split, files)
        values = _scored(panel, split, deltas, params, truth)
        for condition, scores in values.items():
            for metric, value in scores.items():
                builder.add(unit, condition, metric, value)
        if i == 0 and ctx.conditions is None:  # not for each of the many jobs that test a claim
            tables = _rows(panel, split, deltas, params)
            _pictures(panel.truth(split.test), deltas, ctx)
        ctx.progress(i + 1, len(units))
    if tables:
        ctx.artifact("perturbations.csv", tables)
    return builder.build()


def split_of(panel: Panel, share: float, unit: Unit) -> Split:
    """Held-out perturbations, drawn anew for each unit: combinations where there are any, else all kinds.

    Raises:
        BadTruthError: fewer than two would be held out, or none would be left to learn from.
    """
    names = sorted(panel.groups)
    combined = [n for n in names if len(single_of(n)) > 1]
    pool = combined or names
    n_test = min(len(pool), max(2, round(share * len(pool))))
    if len(pool) < 2 or n_test == len(names):
        raise BadTruthError(
            f"{len(pool)} perturbations cannot be split {share:g} : {1 - share:g}; give at least 3"
        )
    test = {pool[i] for i in unit.rng("split").permutation(len(pool))[:n_test]}
    return Split(tuple(n for n in names if n not in test), tuple(n for n in names if n in test))


def _predicted(panel: Panel, split: Split, files: Mapping[str, Predictions]) -> dict[str, Floats]:
    """Predicted deltas by condition, (held out, genes)."""
    found = {BASELINE: baselines.perturbed_mean(panel, split.train, split.test)}
    found |= {name: p.deltas(split.test, panel.control.mean) for name, p in files.items()}
    return found | {name: f(panel, split.train, split.test) for name, f in baselines.BASELINES.items()}


def _scored(
    panel: Panel,
    split: Split,
    deltas: Mapping[str, Floats],
    params: ScoreParams,
    simulated: _SimulatedTruth | None,
) -> dict[str, dict[str, float]]:
    truth = panel.truth(split.test)
    top, distance = min(params.top, len(panel.genes)), params.distance
    values = {name: all_scores(d, truth, top=top, distance=distance) for name, d in deltas.items()}
    ceiling = panel.truth(split.test, half=0).delta
    other_half = panel.truth(split.test, half=1)
    values["ref:ceiling"] = all_scores(ceiling, other_half, top=top, distance=distance)
    clouds = _clouds(panel, split, deltas)
    for name, scores in values.items():
        scores["score_norm"] = normalised(scores, values[BASELINE])
        if name in clouds:
            scores["cloud"] = clouds[name]
        if simulated is not None:
            scores.update(simulated.against_network(deltas.get(name, ceiling), split.test))
    return values


def _clouds(panel: Panel, split: Split, deltas: Mapping[str, Floats]) -> dict[str, float]:
    """Energy distance between predicted and true cells, mean over held-out perturbations.

    A predictor of means moves the control cells by its delta; transport moves each cell its own way.
    """
    maps = baselines.TransportMaps(panel, split.train)
    start = panel.control.scores[:CLOUD_CELLS]
    found: dict[str, list[float]] = {name: [] for name in deltas}
    for i, name in enumerate(split.test):
        true = panel.groups[name].scores[: len(start)]
        n = min(len(true), len(start))
        for condition, delta in deltas.items():
            cells = maps.cells(name)[:n] if condition == "base:ot" else start[:n] + delta[i] @ panel.axes.T
            a, b = np.ascontiguousarray(cells.T), np.ascontiguousarray(true[:n].T)
            found[condition].append(
                energy_distance(squared_distances(a, a), squared_distances(a, b), squared_distances(b, b))
            )
    return {name: float(np.mean(v)) for name, v in found.items()}


def _rows(
    panel: Panel, split: Split, deltas: Mapping[str, Floats], params: ScoreParams
) -> list[dict[str, Any]]:
    truth = panel.truth(split.test)
    rows = []
    for condition, delta in deltas.items():
        r, _ = delta_pearson(delta, truth.delta)
        nearer = nearer_counts(delta, truth.delta, truth.targeted, distance=params.distance)
        for i, name in enumerate(split.test):
            gap = float(np.abs(delta[i] - truth.delta[i]).mean())
            rows.append(
                {
                    "condition": condition,
                    "perturbation": name,
                    "delta_pearson": float(r[i]),
                    "pds": float(1 - nearer[i] / (len(nearer) - 1)),
                    "mae_delta": gap,
                }
            )
    return rows


def _pictures(truth: Truth, deltas: Mapping[str, Floats], ctx: Context) -> None:
    ctx.artifact("calibration.png", drawing.calibration(truth.delta, deltas))


class _SimulatedTruth:
    """A screen simulated anew for each unit, and what its network says about it.

    Every perturbation has cells of its own, as in an experiment: with shared noise a training perturbation would show
    the very cells of a held-out one.
    """

    def __init__(self, params: ScoreParams, ctx: Context) -> None:
        target = ctx.target(params.target)
        spec: SimulatedTruth = params.truth  # type: ignore[assignment]  # the caller looked
        self.network: Network = target.network
        self._ctx = ctx
        self._conditions: Conditions = swept(
            self.network, spec.kind, spec.value, spec.genes, spec.order, params.max_conditions
        )
        perturbations = list(self._conditions.asked.values())
        plan = plan_of(SimulationParams(target=params.target, cells=spec.cells, crn=False), self.network)
        require_memory(self.network, plan, perturbations, CPU.memory)
        model = target.model()
        self._experiment = Experiment(model, plan, perturbations, [0], model.thresholds(), device=ctx.device)
        self._noise_free = self._exact_deltas()

    def panel(self, unit: Unit, rng: np.random.Generator) -> Panel:
        """The simulated cells of one unit as a panel."""
        cells: dict[str, Floats] = {}
        for reader, name, view in self._experiment.run(unit.seed, distances=False):
            level = reader.baseline.copy()
            level[view.genes] = view.level
            cells[CONTROL if name == BASELINE else name] = np.log1p(
                level.reshape(len(level), -1).T.astype(np.float64)
            )
        return build_panel(self.network.names, cells, rng)

    def against_network(self, delta: Floats, names: Sequence[str]) -> dict[str, float]:
        """Predicted non-zero genes against the network's descendants; error against the noise-free change."""
        reach = np.array(
            [[g in self.network.descendants(genes_of(n)) for g in self.network.names] for n in names]
        )
        named = np.abs(delta) > NON_ZERO
        hits = float((named & reach).sum())
        found = {"network_recall": hits / float(reach.sum())}
        if named.any():
            found["network_precision"] = hits / float(named.sum())
        if self._noise_free is not None:
            exact = np.array([self._noise_free[n] for n in names])
            found["noise_free_mse"] = float(((delta - exact) ** 2).mean())
        return found

    def _exact_deltas(self) -> dict[str, Floats] | None:
        """Noise-free change of log1p level; None where the network does not come to rest."""
        try:
            found = moments_of(self._experiment.model, self._experiment.perturbations, lna=False)
        except NoSteadyStateError:
            return None
        logs = {n: np.log1p(m.mean).mean(axis=1) for n, m in found.items()}
        return {n: x - logs[BASELINE] for n, x in logs.items()}
