"""`weight.module_select`: which adapters of a trained model can go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

import agentkit
from agentkit import Context, Metric, Resources, Unit
from agentkit_weight.params import SubjectParams


class ModuleSelect(SubjectParams):
    """What is removed, and how much stays."""

    unit_of_removal: Annotated[
        Literal["module", "rank"], Field(description="a layer's whole adapter, or one rank of it")
    ] = "module"
    keep: Annotated[
        int | None, Field(ge=1, description="remove one after the other until so many are left")
    ] = None
    tune_steps: Annotated[int, Field(ge=0, le=1000, description="steps of tuning after each removal")] = 10


@agentkit.tool(
    name="weight.module_select",
    version="1",
    metrics=[
        Metric("removal_loss_rise", higher_is_better=False, baseline=0),
        Metric("rank_correlation", -1, 1, baseline=0, higher_is_better=None),
    ],
    resources=Resources(memory=3 << 30),
    seconds_per_unit=90,
    any_device=True,
)
def module_select(params: ModuleSelect, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Remove one adapter at a time and measure what it costs; compare with the size of its weights.

    How important is each adapter module, and which can be left out?
    Conditions `without:LAYER` (`without:LAYER#3` for one rank) hold `removal_loss_rise`; `magnitude` holds the
    Spearman correlation of that rise with ||s B A||_F; `kept:K`, with `keep`, the rise after removing the least
    harmful adapter again and again with a short tuning between (DARTS-PT's rule).
    """
    from agentkit_weight.module_select import run

    return run(params, units, ctx)
