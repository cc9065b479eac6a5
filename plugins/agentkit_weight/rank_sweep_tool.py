"""`weight.rank_sweep`: test loss over the adapter's rank, with noisy labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

import agentkit
from agentkit import Context, Metric, Resources, Unit
from agentkit_weight.params import Asam, Awp, Ggpo, LoraParams, Mgpo, Sam

Rank = Annotated[int, Field(ge=1, le=256)]


class RankSweep(LoraParams):
    """Which ranks, which methods, how noisy the labels."""

    ranks: Annotated[tuple[Rank, ...], Field(min_length=1)] = (1, 2, 4, 8, 16, 32, 64)
    methods: Annotated[
        tuple[Literal["lora", "ggpo", "mgpo", "sam", "asam", "awp_lora"], ...], Field(min_length=1)
    ] = ("lora",)
    label_noise: Annotated[float, Field(ge=0, le=0.4, description="share of training labels replaced")] = 0.2
    contrast: Annotated[
        tuple[Rank, Rank, Rank] | None,
        Field(description="left, peak and right rank, chosen in an explore run: gives peak_excess"),
    ] = None
    ggpo: Ggpo = Ggpo()
    mgpo: Mgpo = Mgpo()
    sam: Sam = Sam()
    asam: Asam = Asam()
    awp: Awp = Awp()

    @model_validator(mode="after")
    def _contrast_is_in_the_sweep(self) -> RankSweep:
        if len(set(self.ranks)) < len(self.ranks):
            raise ValueError(f"ranks {self.ranks}: one is given twice")
        if self.contrast is None:
            return self
        left, peak, right = self.contrast
        if not left < peak < right:
            raise ValueError(f"contrast {self.contrast}: left < peak < right")
        if missing := [rank for rank in self.contrast if rank not in self.ranks]:
            raise ValueError(f"contrast rank {missing[0]} is not one of ranks {self.ranks}")
        return self


@agentkit.tool(
    name="weight.rank_sweep",
    version="2",
    metrics=[
        Metric("test_loss", 0, None, higher_is_better=False),
        Metric("peak_excess", higher_is_better=None, baseline=0),
    ],
    resources=Resources(memory=3 << 30),
    seconds_per_unit=300,
    any_device=True,
)
def rank_sweep(params: RankSweep, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Train adapters of many ranks on noisy labels: does the test loss peak at some rank (double descent)?

    `baseline` is the head without an adapter (rank 0). Conditions `r=8` (LoRA) and `mgpo:r=8`. With `contrast`
    (left, peak, right) the condition `peak` holds `peak_excess` = loss(peak) - max(loss(left), loss(right)): choose
    the three ranks in an explore run, freeze them, and let fresh units judge. The tool names no peak.
    """
    from agentkit_weight.rank_sweep import run

    return run(params, units, ctx)
