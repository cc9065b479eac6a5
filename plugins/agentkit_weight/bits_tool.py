"""`weight.bits`: how many bits each layer needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

import agentkit
from agentkit import Context, Metric, Resources, Unit
from agentkit_weight.params import SubjectParams


class Bits(SubjectParams):
    """Which widths, and how small."""

    choices: Annotated[
        tuple[Literal[2, 3, 4, 8], ...], Field(min_length=1, description="bits that a layer may get")
    ] = (2, 3, 4, 8)
    size_ratio: Annotated[
        tuple[Annotated[float, Field(ge=0.1, le=1)], ...],
        Field(
            min_length=1,
            description="size of the target matrices against 8 bits a weight; one allocation each",
        ),
    ] = (0.375, 0.5, 0.75)
    calib_n: Annotated[
        int, Field(ge=4, le=512, description="strings for the traces, disjoint from those that judge")
    ] = 32
    probes: Annotated[int, Field(ge=8, le=512)] = 16


@agentkit.tool(
    name="weight.bits",
    version="1",
    metrics=[
        Metric("predicted_rise", higher_is_better=False, baseline=0),
        Metric("measured_rise", higher_is_better=False, baseline=0),
        Metric("rank_correlation", -1, 1, baseline=0, higher_is_better=None),
    ],
    resources=Resources(memory=6 << 30),
    seconds_per_unit=180,
    any_device=True,
)
def bits(params: Bits, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Choose bits per layer by curvature (HAWQ-V3's rule and an exact MILP), then measure every allocation.

    Which layers can be quantised to few bits (2, 3, 4), and what does rounding cost?
    Conditions: `mixed@0.5` for each size ratio, `uniform:4` for each width that is the same everywhere, and
    `order` with the Spearman correlation of predicted and measured rise over the allocations. The allocation,
    the Pareto front and the traces' intervals are artifacts. Weights are rounded in a private copy only.
    """
    from agentkit_weight.bits import run

    return run(params, units, ctx)
