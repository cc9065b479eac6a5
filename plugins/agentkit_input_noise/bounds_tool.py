"""The tool `noise.bounds`: what a network can output for any input in a ball, proved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit
from agentkit_input_noise.sweep import Distinct, Strengths


class Bounds(Params):
    """Which network is bounded, over which balls, and how."""

    target: Annotated[str, Field(description="torch.nn.Sequential of affine layers and ReLUs: URI")] = (
        "digits:cnn"
    )
    data: Annotated[str, Field(description="labelled images in [0, 1]: URI of a data set")] = "digits:"
    methods: Annotated[
        tuple[Literal["ibp", "crown", "alpha_crown"], ...],
        Field(
            min_length=1,
            description="ibp: intervals; crown: linear bounds, tighter and slower; alpha_crown: optimised slopes, tightest",
        ),
        Distinct,
    ] = ("ibp", "crown")
    eps: Annotated[Strengths, Field(description="radii in pixel units of [0, 1]")] = (0.005, 0.01, 0.02)
    norm: Annotated[Literal["inf", "2"], Field(description="norm that eps is measured in")] = "inf"
    items: Annotated[int, Field(ge=1, le=10_000, description="images per unit")] = 20


@agentkit.tool(
    name="noise.bounds",
    version="1",
    metrics=[
        Metric("verified", 0, 1),
        Metric("mean_width", 0, None, baseline=0, higher_is_better=False),
    ],
    resources=Resources(cpus=1),
    seconds_per_unit=5.0,
    explore_only=True,
    splits_conditions=True,
    any_device=True,
)
def noise_bounds(params: Bounds, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Prove by interval or linear bounds that no input within eps changes an image's class.

    Bounds hold for every input of the ball at once and need no luck, so there is nothing to confirm: this
    tool explores only. Conditions: `baseline` (eps zero: the plain prediction) and `METHOD=EPS`.

    Metrics over the unit's items: `verified` (every margin of the label over another class has a positive
    lower bound) and `mean_width` (mean distance between upper and lower bounds of the margins).
    """
    from agentkit_input_noise import bounded

    return bounded.measure(params, units, ctx, noise_bounds.metrics)
