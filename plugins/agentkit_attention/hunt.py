"""The tool `attention.hunt`: search for heads that guide and judge what was found, anew in every unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

import agentkit
from agentkit import Context, Metric, Unit
from agentkit_attention.guide import METRICS, Drawing

if TYPE_CHECKING:
    from agentkit import Measurements  # noqa: TC004 - an annotation only: importing it would load numpy


class HuntHeads(Drawing):
    """How many heads to hunt, and with how much looking."""

    k: Annotated[int, Field(ge=1, le=64, description="how many heads to find")] = 6
    sites: Annotated[str, Field(description="heads to choose from, by name or pattern")] = "*"
    search_n: Annotated[
        int, Field(ge=2, le=1024, description="samples that a finalist of the search is measured on")
    ] = 18
    u_search: Annotated[
        float,
        Field(description="strength of the technique in the search", json_schema_extra={"advanced": True}),
    ] = 1.0


@agentkit.tool(
    name="attention.hunt",
    metrics=[*METRICS, Metric("search_gain", -1, 1, baseline=0)],
    version="1",
    seconds_per_unit=8.0,
    any_device=True,
)
def hunt(params: HuntHeads, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Hunt for attention heads whose guidance sharpens what a diffusion transformer draws, and judge the find.

    HeadHunter (arXiv 2506.10978) as an experiment that can be repeated: every unit searches anew, on noise of its
    own, for the `k` heads that raise the objective most when guidance perturbs them one at a time, racing so that
    only promising heads get all samples. What it found then guides fresh samples, scored by a judge that the
    search never saw, beside as many heads drawn at random. So a verdict speaks about hunting, not about one
    lucky set of heads.

    Conditions: `baseline` (no guidance), `hunted` and `random_k`, with several strengths `hunted=0.25`; and one
    per head tried (`L1.H0`), with the metric `search_gain` alone: the objective's mean gain over no guidance on the
    samples of the search. Other metrics as in attention.guide: judge, objective, precision, recall, fd (needs
    n >= 240). A judged gain is not a gain in distribution: look at judge and fd together.
    """
    from agentkit_attention.hunt_run import run

    return run(params, units, ctx)
