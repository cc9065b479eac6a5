"""The tools `gene.loop`, `gene.next` and `gene.features`: what they take and measure. The work is in `bodies`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agentkit import Context, Metric, Resources, Tool, Unit, tool
from agentkit_gene.screens.params import FeaturesParams, LoopParams, NextParams
from agentkit_gene.screens.versions import TOOLS as VERSION

if TYPE_CHECKING:
    from agentkit import Measurements  # noqa: TC004 - a tool evaluates the annotation of its params only

CPU = Resources(cpus=1, gpus=0, memory=2 << 30)


@tool(
    name="gene.loop",
    metrics=[
        Metric("hit_ratio", 0, 1),
        Metric("hit_ratio_nonessential", 0, 1),
        Metric("auc", 0, 1),
        Metric("hits", 0, None),
    ],
    version=VERSION,
    resources=CPU,
    splits_conditions=True,
)
def loop(params: LoopParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Would a picker have found more hits than random in a finished or simulated screen? Compare pickers over rounds.

    Does feedback matter, or is it all prior knowledge? Closed-loop choice of experiments, replayed: each round a picker chooses a batch of genes to knock out next, is shown
    the results of those genes only, and chooses again. The baseline picks at random. hit_ratio: share of all hits found
    after the last round; hit_ratio_nonessential: the same without core-essential genes; auc: mean of the cumulative
    curve; hits: hits found. NAME!permuted is told other genes' results: true minus permuted is what feedback earned. A
    unit varies the picker's randomness (and a simulated screen's noise), so a verdict is about this screen; with
    screen:sim?seed=unit every unit is a network of its own, and a verdict is about such networks.
    """
    from agentkit_gene.screens.replayed import run_loop

    return run_loop(params, units, ctx)


@tool(
    name="gene.next",
    metrics=[
        Metric("agreement", 0, 1, higher_is_better=None),
        Metric("picks", 0, None, higher_is_better=None),
    ],
    version=VERSION,
    resources=CPU,
)
def next_batch(params: NextParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Which genes should be tested next? The next batch of genes to knock out in a lab, with evidence for every pick.

    Given a library, a task in words and the results so far, suggests which untested genes to perturb next, as a ranked
    table: score, rank by each component, gene sets and tested genes that spoke for it. agreement: how much the
    components agree (0.5: not at all, 1: fully); picks: genes in the batch. The baseline picks by prior knowledge alone.
    """
    from agentkit_gene.screens.upcoming import run_next

    return run_next(params, units, ctx)


@tool(
    name="gene.features",
    metrics=[Metric("coverage", 0, 1)],
    version=VERSION,
    resources=CPU,
    explore_only=True,
)
def features(params: FeaturesParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """How much is known about the genes of a library: coverage of each block of prior knowledge.

    coverage: share of the library's genes with a row in the block; the baseline is all blocks together. The same value
    at every unit, so it is exploration only.
    """
    from agentkit_gene.screens.known import run_features

    return run_features(params, units, ctx)


TOOLS: tuple[Tool, ...] = (loop, next_batch, features)
