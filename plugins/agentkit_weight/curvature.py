"""What `weight.curvature` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from agentkit import BASELINE, Measurements
from agentkit.errors import ParamError
from agentkit_weight.errors import UnsupportedSiteError
from agentkit_weight.sites import block_list
from agentkit_weight.subject import subject_of
from agentkit_weight.task import Task, evaluation_mode
from agentkit_weight.zo_tagging import running_on

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from agentkit import Context, Unit
    from agentkit_weight.curvature_tool import Curvature
    from agentkit_weight.subject import Subject
    from agentkit_weight.tagging import Batch


def run(params: Curvature, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Measurements of every block; the ranking through `ctx`."""
    task = Task(params, ctx)
    blocks = _blocks(params, task)
    table = Measurements.builder(units)
    rows: list[dict[str, Any]] = []
    with evaluation_mode(task.model):
        for done, unit in enumerate(units):
            subject = subject_of(task, unit, params, ctx)
            sizes = {i: _importance(subject, block, params.temperature) for i, block in blocks.items()}
            total = sum(sizes.values())
            table.add(unit, BASELINE, "importance_share", 1 / len(blocks))
            for i, size in sizes.items():
                share = min(1.0, size / total) if total else 0.0
                table.add(unit, f"block:{i}", "importance_share", share)
                rows.append({"unit": unit.index, "block": i, "share": share, "mean_abs_row_sum": size})
            ctx.progress(done + 1, len(units))
    ctx.artifact("curvature.json", {"rows": sorted(rows, key=lambda r: -r["share"])})
    ctx.artifact("curvature.png", _figure(rows))
    return table.build()


def row_sums(loss: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """|H 1| of a loss in a shift shaped `like` this, at zero: forward over reverse, no step size."""
    derivative: Tensor = torch.func.jvp(
        torch.func.grad(loss), (torch.zeros_like(like),), (torch.ones_like(like),)
    )[1]
    return derivative.abs()


def softened_divergence(logits: Tensor, clean: Tensor, temperature: float) -> Tensor:
    """KL(softmax(logits / T) || softmax(clean / T)), summed over rows."""
    ours = functional.log_softmax(logits / temperature, -1)
    theirs = functional.log_softmax(clean / temperature, -1)
    return (ours.exp() * (ours - theirs)).sum()


def _importance(subject: Subject, block: nn.Module, temperature: float) -> float:
    """Mean over strings and channels of |H 1|, real tokens only."""
    total, count = 0.0, 0
    for batch in subject.batches:
        sums = _batch_row_sums(subject, block, batch, temperature)
        total += float(sums[batch.keep].sum())
        count += int(batch.keep.sum()) * sums.shape[-1]
    return total / count


def _batch_row_sums(subject: Subject, block: nn.Module, batch: Batch, temperature: float) -> Tensor:
    encoder, head = subject.task.encoder, subject.trained.head
    with running_on(encoder, subject.weights), sdpa_kernel(SDPBackend.MATH):
        with torch.no_grad():
            hidden = encoder(batch)
            clean = head(batch.words(hidden))

        def loss(shift: Tensor) -> Tensor:
            def add(module: nn.Module, inputs: Any, output: Any) -> Any:
                if isinstance(output, tuple):
                    return (output[0] + shift, *output[1:])
                return output + shift

            handle = block.register_forward_hook(add)
            try:
                logits = head(batch.words(encoder(batch)))
            finally:
                handle.remove()
            return softened_divergence(logits, clean, temperature)

        return row_sums(loss, hidden)


def _blocks(params: Curvature, task: Task) -> dict[int, nn.Module]:
    found = block_list(task.model)
    if found is None:
        raise UnsupportedSiteError(f"{params.target}: curvature needs a model with a list of blocks")
    layers = list(found[1])
    first = task.encoder.start or 0
    wanted = params.blocks if params.blocks is not None else tuple(range(first, len(layers)))
    for i in wanted:
        if not first <= i < len(layers):
            raise ParamError(
                f"block {i}: blocks {first} to {len(layers) - 1} run here; top_layers null opens those below"
            )
    return {i: layers[i] for i in wanted}


def _figure(rows: list[dict[str, Any]]) -> Any:
    from matplotlib.figure import Figure

    names = sorted({row["block"] for row in rows})
    means = {
        b: sum(r["share"] for r in rows if r["block"] == b) / sum(r["block"] == b for r in rows)
        for b in names
    }
    ranked = sorted(names, key=lambda b: means[b])
    figure = Figure(figsize=(6, 0.4 * len(names) + 1.5), layout="constrained")
    axes = figure.subplots()
    axes.barh([f"block {b}" for b in ranked], [means[b] for b in ranked])
    axes.set_xlabel("share of |H 1|")
    return figure
