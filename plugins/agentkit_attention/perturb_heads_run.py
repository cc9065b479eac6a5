"""The body of `attention.perturb_heads`: conditions from params, scores from a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from agentkit import BASELINE, Measurements
from agentkit_attention.edits import Condition
from agentkit_attention.models import describe
from agentkit_attention.pictures import publish
from agentkit_attention.questions import ask
from agentkit_attention.sweep import HeadSweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from agentkit import Context, Unit
    from agentkit_attention.perturb_heads import PerturbHeads
    from agentkit_attention.sites import Head, SiteTable


def run(params: PerturbHeads, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Measure `baseline` and every asked condition on every unit."""
    encoder, data = ctx.target(params.target), ctx.target(params.data)
    table = describe(encoder).table
    conditions = [c for c in conditions_of(params, table) if ctx.wants(c.name)]
    sweep = HeadSweep(encoder.model, table, params.memory_mb)
    values: dict[str, list[Tensor]] = {}
    main = ""
    for done, unit in enumerate(units):
        question = ask(params, unit, encoder, data, table)
        answers = sweep.run(
            question.inputs, question.n_texts, conditions, question.collect, question.state, question.donors,
            floats_per_row=question.floats_per_row,
        )  # fmt: skip
        for metric, column in question.scores(answers).items():
            values.setdefault(metric, []).append(column)
        main = question.main
        ctx.progress(done + 1, len(units))
    ctx.artifact("trace.json", sweep.trace.to_json())
    names = [BASELINE, *(c.name for c in conditions)]
    arrays = {m: torch.stack(v).numpy() for m, v in values.items()}
    publish(ctx, conditions, arrays[main], main)
    return Measurements.from_arrays(units, names, arrays)


def conditions_of(params: PerturbHeads, table: SiteTable) -> list[Condition]:
    """Every condition that the params describe, in canonical order."""
    heads = table.select(params.sites)
    return [
        Condition(
            name if len(params.strengths) == 1 else f"{name}:{params.technique}@{strength:g}",
            group, params.technique, strength,
        )
        for name, group in _groups(heads, params.group)
        for strength in params.strengths
    ]  # fmt: skip


def _groups(heads: Sequence[Head], kind: str) -> list[tuple[str, tuple[Head, ...]]]:
    if kind == "head":
        return [(h.name, (h,)) for h in heads]
    if kind == "set":
        return [("set", tuple(heads))]
    layers: dict[str, list[Head]] = {}
    for head in heads:
        name = f"L{head.site.layer}" if head.site.short else head.site.address
        layers.setdefault(name, []).append(head)
    return [(name, tuple(group)) for name, group in layers.items()]
