"""What `weight.rank_sweep` does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit import BASELINE, Measurements
from agentkit_weight.methods import make_method
from agentkit_weight.task import Task, evaluation_mode
from agentkit_weight.training import evaluate, train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit import Context, Unit
    from agentkit_weight.encoder import Rows
    from agentkit_weight.rank_sweep_tool import RankSweep


def run(params: RankSweep, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Measurements of every rank and method; curve and figure through `ctx`."""
    task = Task(params, ctx)
    table = Measurements.builder(units)
    curve: list[dict[str, Any]] = []
    with evaluation_mode(task.model):
        for done, unit in enumerate(units):
            train_at, test_at = task.split(unit)
            table.add(unit, BASELINE, "test_loss", _head_loss(task, params, unit, train_at, test_at))
            table.add(unit, BASELINE, "peak_excess", 0.0)
            rows = noisy_labels(
                task.rows(task.encoder).take(train_at), params.label_noise, len(task.tags), unit
            )
            tested = task.rows(task.encoder).take(test_at)
            for method in params.methods:
                losses = {}
                for rank in _needed(params, method, ctx):
                    losses[rank] = _loss(task, params, unit, method, rank, rows, tested)
                    table.add(unit, _name(method, f"r={rank}"), "test_loss", losses[rank])
                    curve.append(
                        {"unit": unit.index, "method": method, "rank": rank, "test_loss": losses[rank]}
                    )
                if params.contrast is not None and ctx.wants(_name(method, "peak")):
                    left, peak, right = (losses[r] for r in params.contrast)
                    table.add(unit, _name(method, "peak"), "peak_excess", peak - max(left, right))
            ctx.progress(done + 1, len(units))
    ctx.artifact("rank_curve.csv", curve)
    ctx.artifact("rank_curve.png", _figure(curve, params))
    return table.build()


def noisy_labels(rows: Rows, share: float, classes: int, unit: Unit) -> Rows:
    """Each training label replaced, with probability `share`, by another class drawn evenly."""
    rng = unit.rng("label-noise")
    labels = []
    for row in rows.rows.labels:
        hit, shift = rng.random(len(row)) < share, rng.integers(1, classes, len(row))
        labels.append(
            tuple(
                int((label + s) % classes) if h else label
                for label, h, s in zip(row, hit, shift, strict=True)
            )
        )
    return rows.relabelled(tuple(labels))


def _needed(params: RankSweep, method: str, ctx: Context) -> list[int]:
    """Ranks whose own condition was asked for, and those of the contrast where its peak was."""
    contrast = (params.contrast or ()) if ctx.wants(_name(method, "peak")) else ()
    return [rank for rank in params.ranks if rank in contrast or ctx.wants(_name(method, f"r={rank}"))]


def _name(method: str, what: str) -> str:
    return what if method == "lora" else f"{method}:{what}"


def _loss(
    task: Task, params: RankSweep, unit: Unit, method: str, rank: int, rows: Rows, tested: Rows
) -> float:
    step = make_method(method, params.ggpo, params.mgpo, params.sam, params.asam, params.awp)
    recipe = replace(task.recipe(params), r=rank, alpha=params.alpha or 2 * rank)
    trained = train(unit, task.encoder, task.sites, rows, recipe, step)
    return evaluate(task.encoder, task.sites, tested, trained)["loss"]


def _head_loss(task: Task, params: RankSweep, unit: Unit, train_at: list[int], test_at: list[int]) -> float:
    rows = task.rows(task.features)
    noisy = noisy_labels(rows.take(train_at), params.label_noise, len(task.tags), unit)
    trained = train(unit, task.features, {}, noisy, task.recipe(params))
    return evaluate(task.features, {}, rows.take(test_at), trained)["loss"]


def _figure(curve: list[dict[str, Any]], params: RankSweep) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for method in params.methods:
        ranks = sorted({c["rank"] for c in curve if c["method"] == method})
        if not ranks:
            continue
        losses = np.array(
            [[c["test_loss"] for c in curve if (c["method"], c["rank"]) == (method, r)] for r in ranks]
        )
        axes.plot(ranks, losses.mean(1), marker="o", label=method)
        axes.fill_between(ranks, losses.min(1), losses.max(1), alpha=0.2)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(params.ranks), [str(r) for r in params.ranks], minor=False)
    axes.set_xlabel("rank of the adapter")
    axes.set_ylabel("test loss (band: least and greatest unit)")
    if curve:
        axes.legend()
    return figure
