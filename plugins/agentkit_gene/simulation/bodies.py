"""What the tools do: plan, simulate unit by unit, read metrics, leave tables and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agentkit import BASELINE, Measurements, Unit
from agentkit_gene.simulation import drawing, moments
from agentkit_gene.simulation.conditions import Conditions, swept, written
from agentkit_gene.simulation.experiment import Experiment, require_memory
from agentkit_gene.simulation.params import SimulationParams, plan_of
from agentkit_gene.simulation.readout import Reader, View, epistasis
from agentkit_gene.simulation.tools import CPU, perturb, screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from agentkit import Context
    from agentkit_gene.simulation.model import Model
    from agentkit_gene.simulation.perturbation import Perturbation
    from agentkit_gene.simulation.program import Floats
    from agentkit_gene.simulation.target import NetworkTarget
    from agentkit_gene.simulation.tools import MapParams, PerturbParams, ScreenParams

DRAWN_CONDITIONS = 12
TABLE_GENES = 20

Table = dict[tuple[int, str], dict[str, float]]
"""(unit index, condition) -> metric -> value."""


def run_perturb(params: PerturbParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """`gene.perturb`."""
    target = ctx.target(params.target)
    conditions = written(params.perturb)
    experiment = _experiment(params, target, conditions.to_run(ctx), params.readout, params.threshold, ctx)
    metrics = [m.name for m in perturb.metrics]
    if params.physics in ("ode", "lna") and not params.sergio_compat:
        return _noise_free(params, experiment, conditions, units, ctx)
    table: Table = {}
    gallery = _Gallery(experiment, params.save)
    for i, unit in enumerate(units):
        for reader, name, view in experiment.run(
            unit.seed, _ticks(ctx, i, len(units)), shelf=_UnitShelf(ctx, unit)
        ):
            table[unit.index, name] = reader.metrics(view, metrics)
            if i == 0:
                gallery.add(reader, name, view)
    gallery.store(ctx, target, params)
    return _measurements(table, conditions, units, ctx)


def run_screen(params: ScreenParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """`gene.screen`."""
    target = ctx.target(params.target)
    conditions = swept(
        target.network, params.kind, params.value, params.genes, params.order, params.max_conditions
    )
    experiment = _experiment(params, target, conditions.to_run(ctx), params.readout, params.threshold, ctx)
    model = experiment.model
    wanted = [m.name for m in screen.metrics]
    if params.physics in ("ode", "lna") and not params.sergio_compat:
        return _noise_free(params, experiment, conditions, units, ctx)
    table: Table = {}
    deltas: dict[str, Floats] = {}
    gallery = _Gallery(experiment, params.save)
    for i, unit in enumerate(units):
        logs: dict[str, Floats] = {}
        for reader, name, view in experiment.run(
            unit.seed, _ticks(ctx, i, len(units)), shelf=_UnitShelf(ctx, unit)
        ):
            table[unit.index, name] = reader.metrics(view, wanted)
            logs[name] = reader.log_means(view)[_columns_kept(model, experiment)]
            if i == 0 and params.save == "cells":
                gallery.add(reader, name, view)
        _add_epistasis(table, unit, conditions, logs, model, experiment)
        for name, log in logs.items():
            deltas[name] = deltas.get(name, 0.0) + (log - logs[BASELINE]) / len(units)
    measured = _measurements(table, conditions, units, ctx)
    if ctx.conditions is None:  # not for each of the many jobs that test a claim
        _store_screen(measured, deltas, conditions, model, experiment, ctx)
    gallery.store_cells(ctx, target, params)
    return measured


def run_map(params: MapParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """`gene.map`."""
    model = ctx.target(params.target).model(params.layers)
    network = model.network
    conditions = swept(network, params.kind, params.value, params.genes, 1, params.max_conditions)
    read = _read_genes(model, params.readout or list(network.names))
    found = moments.moments_of(model, conditions.to_run(ctx), lna=False)
    base = found[BASELINE].mean.mean(axis=1)
    table: Table = {}
    effects = {}
    for name, moment in found.items():
        level = moment.mean.mean(axis=1)
        effects[name] = np.log2((level + 1) / (base + 1))
        m = level[read]
        genes = conditions.asked[name].genes if name != BASELINE else ()
        values = {
            "descendants": float((np.abs(effects[name]) > 1e-9).mean()),
            "out_degree": float(sum(len(network.targets[g]) for g in genes)),
            "level_rel": float((m / (m + model.scale[read])).mean()),
        }
        table.update({(u.index, name): values for u in units})
    rows = [n for n in effects if n != BASELINE]
    if rows:
        matrix = np.array([effects[n] for n in rows])
        ctx.artifact(
            "effects.npz",
            {"log2_change": matrix, "condition": np.array(rows), "gene": np.array(network.names)},
        )
        ctx.artifact("effects.png", drawing.heat_map(matrix, rows, network.names, "log2 change, noise-free"))
    return _measurements(table, conditions, units, ctx)


def _experiment(
    params: SimulationParams,
    target: NetworkTarget,
    perturbations: list[Perturbation],
    readout: str | list[str],
    threshold: float | None,
    ctx: Context,
) -> Experiment:
    """The experiment, refused before the wild type is solved when it would not fit."""
    plan = plan_of(params, target.network)
    effect_names = {
        name for p in perturbations for part in p.parts for name in (part.gene, part.target) if name
    }
    for name in sorted(effect_names):
        target.network.gene(name)
    require_memory(target.network, plan, perturbations, CPU.memory)
    model = target.model(params.layers)
    limits = model.thresholds() if threshold is None else np.full(len(model.network.genes), threshold)
    read = _read_genes(model, readout)
    return Experiment(model, plan, perturbations, read, limits, params.technical, device=ctx.device)


def _read_genes(model: Model, readout: str | list[str]) -> list[int]:
    names = [readout] if isinstance(readout, str) else readout
    return [model.network.index[model.network.gene(n).name] for n in dict.fromkeys(names)]


def _noise_free(
    params: PerturbParams | ScreenParams,
    experiment: Experiment,
    conditions: Conditions,
    units: Sequence[Unit],
    ctx: Context,
) -> Measurements:
    model, types = experiment.model, experiment.plan.types
    found = moments.moments_of(
        model, experiment.perturbations, lna=params.physics == "lna", q=params.q, form=params.noise
    )
    tool = screen if "order" in type(params).model_fields else perturb
    declared = {m.name for m in tool.metrics}
    table: Table = {}
    for name, moment in found.items():
        values = moments.metrics_of(
            moment, found[BASELINE], experiment.read, model.scale, experiment.threshold, types
        )
        table.update({(u.index, name): {k: v for k, v in values.items() if k in declared} for u in units})
    if conditions.singles:
        logs = {
            n: np.log1p(m.mean[:, types]).mean(axis=1)[_columns_kept(model, experiment)]
            for n, m in found.items()
        }
        for unit in units:
            _add_epistasis(table, unit, conditions, logs, model, experiment)
    return _measurements(table, conditions, units, ctx)


def _columns_kept(model: Model, experiment: Experiment) -> Sequence[int]:
    """Genes whose means are kept per condition: all in small networks, those read in large ones."""
    n = len(model.network.genes)
    return range(n) if n * len(experiment.perturbations) <= 2_000_000 else experiment.read


def _add_epistasis(
    table: Table,
    unit: Unit,
    conditions: Conditions,
    logs: Mapping[str, Floats],
    model: Model,
    experiment: Experiment,
) -> None:
    """Epistasis of every pair; 0 by definition for the baseline and for singles. None in a screen of singles."""
    if not conditions.singles:
        return
    kept = _columns_kept(model, experiment)
    read = [kept.index(g) for g in experiment.read]
    for name, log in logs.items():
        value = 0.0
        if name in conditions.singles:
            a, b = conditions.singles[name]
            value = epistasis(log, logs[a], logs[b], logs[BASELINE], read)
        table[unit.index, name]["epistasis"] = value


def _ticks(ctx: Context, unit: int, units: int) -> Callable[[int, int], None]:
    return lambda done, total: ctx.progress(unit * total + done, units * total)


class _UnitShelf:
    """What the worker keeps of one unit."""

    def __init__(self, ctx: Context, unit: Unit) -> None:
        self._ctx, self._unit = ctx, unit

    def kept(self, name: str) -> Mapping[str, np.ndarray] | None:
        return self._ctx.kept(self._unit, name)

    def keep(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        self._ctx.keep(self._unit, name, arrays)


def _measurements(table: Table, conditions: Conditions, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Rows of what was asked, under the names that were asked for."""
    names = {BASELINE: BASELINE} | {n: p.name for n, p in conditions.asked.items() if ctx.wants(n)}
    builder = Measurements.builder(units)
    for unit in units:
        for shown, name in names.items():
            for metric, value in table[unit.index, name].items():
                builder.add(unit, shown, metric, value)
    return builder.build()


class _Gallery:
    """Cells of the first unit, kept for pictures, the delta table and the saved cells."""

    def __init__(self, experiment: Experiment, save: str) -> None:
        self._experiment, self._save = experiment, save
        self._violins: dict[str, np.ndarray] = {}
        self._deltas: dict[str, Floats] = {}
        self._views: list[tuple[str, View]] = []
        self._reader: Reader | None = None

    def add(self, reader: Reader, name: str, view: View) -> None:
        """Look at one condition while its cells exist."""
        self._reader = reader
        if len(self._violins) <= DRAWN_CONDITIONS:
            self._violins[name] = _cells_read(reader, view)
        self._deltas[name] = reader.log_means(view)
        if self._save == "cells":
            self._views.append((name, view))

    def store(self, ctx: Context, target: NetworkTarget, params: PerturbParams) -> None:
        """Violins of the readout, changes of the genes that moved most, and what `save` asks for.

        A job that was asked for some conditions only (one of many that test a claim) leaves no pictures.
        """
        self.store_cells(ctx, target, params)
        if ctx.conditions is not None:
            return
        network = self._experiment.model.network
        base = self._deltas.pop(BASELINE)
        shown = {n: d - base for n, d in self._deltas.items()}
        readout = ", ".join(network.names[g] for g in self._experiment.read)
        ctx.artifact("violin.png", drawing.violins(self._violins, f"{readout} (copies a cell)"))
        if shown:
            ctx.artifact("deltas.csv", _delta_rows(shown, network.names))
            top = _top_genes(shown.values())
            matrix = np.array([d[top] for d in shown.values()])
            ctx.artifact(
                "deltas.png",
                drawing.heat_map(
                    matrix, list(shown), [network.names[g] for g in top], "change of mean log(1+x)"
                ),
            )
            strongest = max(shown, key=lambda n: float(np.abs(shown[n]).sum()))
            if len(network.genes) <= 60:
                ctx.artifact(
                    "network.png", drawing.network(network, shown[strongest], f"{network.name}: {strongest}")
                )
        if params.save == "moments":
            ctx.artifact(
                "moments.npz",
                {
                    "delta": np.array(list(shown.values())),
                    "condition": np.array(list(shown)),
                    "gene": np.array(network.names),
                },
            )

    def store_cells(self, ctx: Context, target: NetworkTarget, params: SimulationParams) -> None:
        """Every cell of the first unit, when asked for."""
        if self._save == "cells" and self._reader is not None:
            from agentkit_gene.simulation.cell_table import cell_arrays

            arrays = cell_arrays(self._reader, self._views, self._experiment, target.fingerprint, params)
            ctx.artifact("cells.npz", arrays)


def _cells_read(reader: Reader, view: View) -> np.ndarray:
    at = {int(g): k for k, g in enumerate(view.genes)}
    levels = [view.level[at[g]] if g in at else reader.baseline[g] for g in reader.read]
    return np.asarray(np.mean(levels, axis=0)).ravel()


def _top_genes(deltas: Iterable[Floats]) -> np.ndarray:
    strength = np.max(np.abs(np.array(list(deltas))), axis=0)
    return np.sort(np.argsort(-strength, kind="stable")[:TABLE_GENES])


def _delta_rows(deltas: Mapping[str, Floats], names: Sequence[str]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for condition, delta in deltas.items():
        top = [g for g in np.argsort(-np.abs(delta), kind="stable")[:TABLE_GENES] if delta[g] != 0]
        rows += [{"condition": condition, "gene": names[g], "delta_log1p": float(delta[g])} for g in top]
    return rows or [{"condition": "", "gene": "", "delta_log1p": 0.0}]


def _store_screen(
    measured: Measurements,
    deltas: Mapping[str, Floats],
    conditions: Conditions,
    model: Model,
    experiment: Experiment,
    ctx: Context,
) -> None:
    names = [n for n in measured.conditions if n != BASELINE]
    if not names:
        return
    base = measured.column("level_rel", BASELINE).mean()
    ranked = sorted(names, key=lambda n: -abs(measured.column("level_rel", n).mean() - base))
    rows = []
    for n in ranked:
        row = {"condition": n, "level_rel_change": float(measured.column("level_rel", n).mean() - base)}
        for metric in ("frac_on", "shift", "affected", "epistasis"):
            if metric in measured.metrics and np.isfinite(value := measured.column(metric, n).mean()):
                row[metric] = float(value)
            else:
                row[metric] = ""
        rows.append(row)
    ctx.artifact("ranking.csv", rows)
    kept = list(_columns_kept(model, experiment))
    read = [kept.index(g) for g in experiment.read]
    shown = [n for n in ranked if n in deltas and np.any(deltas[n])][:60]
    if shown:
        top = np.union1d(_top_genes([deltas[n] for n in shown]), read).astype(int)
        shown = [n for n in shown if np.any(deltas[n][top])]
        matrix = np.array([deltas[n][top] for n in shown])
        labels = [model.network.names[kept[g]] for g in top]
        title = "change of mean log(1+x)"
        ctx.artifact("deltas.png", drawing.heat_map(matrix, shown, labels, title))
    if conditions.singles:
        _store_epistasis(measured, conditions, ctx)


def _store_epistasis(measured: Measurements, conditions: Conditions, ctx: Context) -> None:
    genes = list(dict.fromkeys(s for pair in conditions.singles.values() for s in pair))
    matrix = np.full((len(genes), len(genes)), np.nan)
    for pair, (a, b) in conditions.singles.items():
        if pair in measured.conditions:
            i, j = genes.index(a), genes.index(b)
            matrix[i, j] = matrix[j, i] = measured.column("epistasis", pair).mean()
    if np.isfinite(matrix).any():
        ctx.artifact("epistasis.png", drawing.heat_map(matrix, genes, genes, "epistasis of the readout"))
