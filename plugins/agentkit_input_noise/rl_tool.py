"""The tool `noise.rl`: what a policy sees is perturbed while it acts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit
from agentkit_input_noise.sweep import Distinct, Strengths

CONTROL = "obs_sign"
"""The matched control of `obs_attack`: the same size in the same box, directions by the toss of a coin."""


class PolicyNoise(Params):
    """Which policy is perturbed, how, and how strongly."""

    target: Annotated[
        str, Field(description="policies: URI; cartpole:linear trains a fresh one for each unit")
    ] = "cartpole:linear"
    kinds: Annotated[
        tuple[Literal["obs_noise", "obs_sign", "obs_attack", "obs_drop", "action_delay"], ...],
        Field(
            min_length=1,
            description="obs_noise: even in the box; obs_sign: on its corners at random; obs_attack: the corner "
            "that closes the gap between the two best actions; obs_drop: share of readings that keep their last "
            "value; action_delay: share of steps at which the last action is repeated",
        ),
        Distinct,
    ] = ("obs_noise", "obs_attack")
    strengths: Annotated[Strengths, Field(description="half-width of the box in the target's own scale, or share")] = (
        0.05, 0.1, 0.2, 0.4, 0.8,
    )  # fmt: skip
    episodes: Annotated[int, Field(ge=1, le=4_096, description="episodes per unit and condition")] = 64


@agentkit.tool(
    name="noise.rl",
    version="1",
    metrics=[
        Metric("return", 0, 500),
        Metric("action_flip", 0, 1, baseline=0, higher_is_better=False),
    ],
    resources=Resources(cpus=1),
    seconds_per_unit=2.0,
    splits_conditions=True,
)
def noise_rl(params: PolicyNoise, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Perturb what a policy observes, or when it acts, and measure its return.

    Each unit is a policy of its own (one policy says nothing about others) and a set of starting states that
    all conditions share. Conditions: `baseline` and `KIND=STRENGTH`; with `obs_attack`, its matched control
    `obs_sign` (same size, random directions) is always measured. Strengths are boxes around the observation
    in the target's own scale. Curves of single policies need not be monotone.

    Metrics over the unit's episodes: `return` (mean, at most 500 steps) and `action_flip` (share of steps at
    which the action differs from the one for the true observation).
    """
    from agentkit_input_noise import rollouts

    return rollouts.measure(params, units, ctx, noise_rl.metrics)
