"""`weight.sharpness`: how fast the loss rises around trained weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

import agentkit
from agentkit import Context, Metric, Resources, Unit
from agentkit_weight.params import SubjectParams


class Sharpness(SubjectParams):
    """Radii and effort."""

    rho: Annotated[float, Field(gt=0, le=0.5, description="radius of the ascent step, over all sites")] = 0.05
    noise: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...],
        Field(
            min_length=1,
            description="relative noise per row; the first is the baseline's, others get conditions",
        ),
    ] = (0.2, 0.5)
    probes: Annotated[int, Field(ge=8, le=512, description="draws for trace and noise")] = 32
    lanczos: Annotated[int, Field(ge=8, le=100, description="most Hessian products for lambda_max")] = 20
    per_module: Annotated[bool, Field(description="one condition per layer")] = False


@agentkit.tool(
    name="weight.sharpness",
    version="1",
    metrics=[
        Metric("lambda_max", higher_is_better=False),
        Metric("trace", higher_is_better=False),
        Metric("sam_rise", higher_is_better=False),
        Metric("noise_rise", higher_is_better=False),
        Metric("lr_lambda_half", higher_is_better=None),
        Metric("lr_trace_half", higher_is_better=None),
    ],
    resources=Resources(memory=6 << 30),
    seconds_per_unit=240,
    any_device=True,
)
def sharpness(params: Sharpness, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Measure how sharp or flat the minimum is: Hessian curvature and loss rise around trained weights.

    All in the space of the target matrices. `lambda_max`, the largest eigenvalue, by Lanczos (residual in the
    artifact), `trace` by Hutchinson (interval in the artifact), `sam_rise` along one normalised ascent step (a lower
    bound of the maximum), `noise_rise` under relative noise. `lr_lambda_half` and `lr_trace_half` stand beside the
    stability limits 1: numbers, not a verdict. Conditions: `noise=0.5` for other radii, `module:NAME` for single
    layers with `per_module`.
    """
    from agentkit_weight.sharpness import run

    return run(params, units, ctx)
