"""`weight.curvature`: which blocks the output hangs on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

import agentkit
from agentkit import Context, Metric, Resources, Unit
from agentkit_weight.params import SubjectParams


class Curvature(SubjectParams):
    """Which blocks, and how soft the outputs are."""

    blocks: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...] | None,
        Field(min_length=1, description="block indices; all that run, unless said"),
    ] = None
    temperature: Annotated[float, Field(gt=0, le=100)] = 20.0


@agentkit.tool(
    name="weight.curvature",
    version="1",
    metrics=[Metric("importance_share", 0, 1, higher_is_better=None)],
    resources=Resources(memory=4 << 30),
    seconds_per_unit=60,
)
def curvature(params: Curvature, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Rank the blocks by how strongly the output's softmax bends under a shift of the block's output.

    Importance is |H 1|, H being the Hessian of KL(softmax(z / T) || own clean softmax) in the block's output
    (APHQ-ViT's measure, here exact by differentiation instead of steps of 1e-6), averaged over strings. Conditions
    `block:4` hold the block's share of the total; `baseline` is an even share.
    """
    from agentkit_weight.curvature import run

    return run(params, units, ctx)
