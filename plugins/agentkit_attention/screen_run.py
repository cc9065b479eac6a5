"""The body of `attention.screen_heads`: gradients at all head outputs from one backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from agentkit import BASELINE, Measurements
from agentkit_attention.edits import apply_edits, whole_batch
from agentkit_attention.errors import SiteNotHitError
from agentkit_attention.intercept import watching
from agentkit_attention.models import describe
from agentkit_attention.perturb_heads_run import conditions_of
from agentkit_attention.questions import Question, ask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from agentkit import Context, Unit
    from agentkit_attention.calls import AttentionCall, SiteKey
    from agentkit_attention.edits import Condition
    from agentkit_attention.screen_heads import ScreenHeads
    from agentkit_attention.sites import SiteTable


def run(params: ScreenHeads, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Approximate effects of every asked head on every unit, and a ranked table."""
    encoder, data = ctx.target(params.target), ctx.target(params.data)
    table = describe(encoder).table
    conditions = [c for c in conditions_of(params, table) if ctx.wants(c.name)]
    rows = []
    for done, unit in enumerate(units):
        question = ask(params, unit, encoder, data, table)
        rows.append(torch.cat([torch.zeros(1), approximate_effects(encoder, table, question, conditions)]))
        ctx.progress(done + 1, len(units))
    values = torch.stack(rows).double().numpy()
    names = [BASELINE, *(c.name for c in conditions)]
    ctx.artifact("first-order approximation.csv", ranked(names[1:], values[:, 1:], params.keep))
    return Measurements.from_arrays(units, names, {"approx_effect": values})


def approximate_effects(
    encoder: Any, table: SiteTable, question: Question, conditions: Sequence[Condition]
) -> Tensor:
    """First-order change of the question's main metric under each condition, [conditions]."""
    outputs: dict[SiteKey, AttentionCall] = {}
    probes: dict[SiteKey, Tensor] = {}

    def tap(call: AttentionCall) -> Tensor:
        probe = torch.zeros_like(call.out, requires_grad=True)  # its gradient is that of the head outputs
        outputs[call.site], probes[call.site] = call, probe
        return call.out + probe

    wanted = {h.site.key: h.site for c in conditions for h in c.heads}
    with (
        torch.enable_grad(),
        watching(
            encoder.model,
            tap,
            modules=[s.key.module for s in wanted.values()],
            projections=[s.projection for s in wanted.values() if s.projection is not None],
            early_bound=table.early_bound,
        ),
    ):
        kept = question.collect(encoder.model(**question.inputs), torch.arange(question.n_texts))
        score = question.scores(kept[None])[question.main][0]
    for site in wanted.values():
        if site.key not in probes:
            raise SiteNotHitError(f"{site.address}: its attention was never computed in this forward pass")
    gradients = dict(zip(probes, torch.autograd.grad(score, list(probes.values())), strict=True))
    with torch.no_grad():
        return torch.stack([_effect(c, question, outputs, gradients) for c in conditions])


def _effect(
    condition: Condition,
    question: Question,
    outputs: dict[SiteKey, AttentionCall],
    gradients: dict[SiteKey, Tensor],
) -> Tensor:
    total = torch.zeros(())
    for edit in whole_batch(condition, question.n_texts):
        call, h = outputs[edit.head.site.key], edit.head.head
        new = apply_edits(call, [edit], question.state, question.donors)
        total = total + (gradients[edit.head.site.key][:, h] * (new[:, h] - call.out[:, h])).sum().cpu()
    return total


def ranked(names: Sequence[str], values: Any, keep: int) -> list[dict[str, object]]:
    """The `keep` heads with the largest mean effect either way, largest first."""
    mean = values.mean(0)
    order = sorted(range(len(names)), key=lambda i: (-abs(mean[i]), i))[:keep]
    return [
        {"rank": r + 1, "head": names[i], "approx_effect (first order)": float(mean[i])}
        for r, i in enumerate(order)
    ]
