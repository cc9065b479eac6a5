"""`weight.landscape`: the loss on a line or a plane through trained weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

import agentkit
from agentkit import Context, Metric, Resources, Unit
from agentkit_weight.params import SubjectParams


class Landscape(SubjectParams):
    """Which plane, how wide, how fine."""

    directions: Annotated[
        Literal["random", "path_pca", "between"],
        Field(description="random: filter-normalised; path_pca: of `others`; between: a line to others[0]"),
    ] = "random"
    others: Annotated[
        tuple[str, ...], Field(description="more adapter files: the path, or the other end")
    ] = ()
    span: Annotated[float, Field(gt=0, le=5, description="half width, in filter norms")] = 0.5
    grid: Annotated[
        int, Field(ge=5, le=101, description="points per axis; odd, so that the centre is one")
    ] = 21
    dims: Literal[1, 2] = 1

    @model_validator(mode="after")
    def _directions_have_what_they_need(self) -> Landscape:
        if self.grid % 2 == 0:
            raise ValueError(f"grid {self.grid} has no centre; use an odd number such as {self.grid + 1}")
        least = {"random": 0, "path_pca": self.dims, "between": 1}[self.directions]
        if len(self.others) < least:
            raise ValueError(f"directions {self.directions} needs at least {least} adapters in `others`")
        if self.directions == "between" and (self.dims == 2 or self.adapter is None):
            raise ValueError(
                "directions between is a line from `adapter` to others[0]: give adapter, and dims 1"
            )
        return self


@agentkit.tool(
    name="weight.landscape",
    version="1",
    metrics=[
        Metric("loss", 0, None, higher_is_better=False),
        Metric("barrier", 0, None, baseline=0, higher_is_better=False),
    ],
    resources=Resources(memory=4 << 30),
    seconds_per_unit=180,
    any_device=True,
)
def landscape(params: Landscape, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Map the loss around trained weights, one condition per grid point; `baseline` is the centre.

    Conditions are `a=0.25` on a line and `a=0.25,b=-0.5` on a plane; between two adapters `t=0.5`, with `baseline`
    at t = 0 and a condition `path` that holds `barrier`: the highest loss on the way above the higher end.
    """
    from agentkit_weight.landscape import run

    return run(params, units, ctx)
