"""`gene.features`: what is known about a library's genes, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentkit import BASELINE, Measurements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit import Context, Unit
    from agentkit_gene.screens.params import FeaturesParams


def run_features(params: FeaturesParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """`gene.features`."""
    target = ctx.target(params.target)
    library = target.library()
    files = [ctx.target(uri) for uri in params.features]
    knowledge = target.knowledge(library, None, files, allow_low=params.allow_low_coverage)
    coverage = {BASELINE: knowledge.coverage} | {b.name: b.coverage for b in knowledge.blocks}
    rows = [
        {
            "block": b.name, "columns": b.stop - b.start, "coverage": b.coverage, "files": "; ".join(b.origins),
            "sha256": b.sha256,
        }
        for b in knowledge.blocks
    ]  # fmt: skip
    ctx.artifact("blocks.csv", rows)
    if knowledge.notes:
        ctx.artifact("notes.txt", "\n".join(knowledge.notes))
    builder = Measurements.builder(units)
    for unit in units:
        for condition, value in coverage.items():
            if ctx.wants(condition):
                builder.add(unit, condition, "coverage", value)
    return builder.build()
