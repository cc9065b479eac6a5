"""The tool `attention.screen_heads`: which heads are worth an exact measurement, from one backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

import agentkit
from agentkit import Context, Metric, Unit
from agentkit_attention.perturb_heads import PerturbHeads


class ScreenHeads(PerturbHeads):
    """As `perturb_heads`, for one strength and single heads."""

    keep: Annotated[int, Field(ge=1, le=1000, description="heads to name for exact measurement")] = 20

    @model_validator(mode="after")
    def _one_strength_and_single_heads(self) -> ScreenHeads:
        if len(self.strengths) > 1:
            raise ValueError(
                "strength: a screen takes one strength; measure curves with attention.perturb_heads"
            )
        if self.group != "head":
            raise ValueError("group: a screen ranks single heads")
        return self


@agentkit.tool(
    name="attention.screen_heads",
    metrics=[Metric("approx_effect", baseline=0, higher_is_better=None)],
    version="1",
    seconds_per_unit=0.2,
    atol=1e-6,
    any_device=True,
)
def screen_heads(params: ScreenHeads, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Estimate to first order what perturbing each head would do to the score, all heads at once.

    Attribution patching: one forward and one backward pass per unit; the effect of a head is the gradient of
    the objective at its output, times the change of that output. It is an approximation for ranking heads
    many times faster than measuring them: measure the survivors with attention.perturb_heads before
    saying anything about them.

    Conditions: `baseline` (0) and one per head. Metric: `approx_effect`, the change of the objective's
    main metric: `margin` (linkage), `pair_margin` or `nll` (next_token).
    """
    from agentkit_attention.screen_run import run

    return run(params, units, ctx)
