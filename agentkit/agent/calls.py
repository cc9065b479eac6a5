"""The arguments of what a planner may call. No argument anywhere is a seed, an alpha, a weight, a verdict or SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from agentkit.errors import ParamError, near_names, unknown
from agentkit.study import Exploration
from agentkit.types import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

CANCELLED = "cancelled by the user"
"""What a planner is told of a call that the user ended."""


class ExploreCall(Exploration):
    """Run one tool for choosing what to claim. Free, any number of times, never evidence.

    Any tool that `status` (what: tools) names, also one that is not listed here by its own name.
    """


class RegisterCall(Frozen):
    """Freeze one claim before fresh data are drawn; with dry_run, only say what it would cost."""

    tool: Annotated[str, Field(description="name of a perturbation tool")]
    params: Annotated[dict[str, Any], Field(default_factory=dict, description="the tool's own params")]
    condition: Annotated[str | None, Field(description="condition compared with baseline")] = None
    contrast: Annotated[
        dict[str, float] | None, Field(description="condition: coefficient, summing to 0")
    ] = None
    metric: Annotated[str, Field(description="a metric that the tool declares")]
    direction: Literal["greater", "less", "two_sided", "equivalent"]
    null: Annotated[float, Field(description="value to be excluded, in the metric's units")] = 0.0
    sesoi: Annotated[float, Field(ge=0, description="smallest effect size of interest, metric's units")]
    test: Literal["bounded_mean", "sign", "sharp"] | None = None
    interval: Literal["two_sided", "one_sided"] = "two_sided"
    max_units: Annotated[int, Field(ge=1, le=100_000)] = 200
    failed: str = "worst_case"
    claim: Annotated[str, Field(max_length=500, description="the claim in words; kept, never judged")] = ""
    dry_run: bool = False

    @model_validator(mode="after")
    def _one_way_to_say_what_is_compared(self) -> RegisterCall:
        if (self.condition is None) == (self.contrast is None):
            raise ValueError("give either condition (compared with baseline) or contrast")
        return self


class RunBatchCall(Frozen):
    """Draw fresh units for one frozen claim and report its running interval."""

    hypothesis: Annotated[str, Field(description="id such as H3")]
    units: Annotated[int, Field(ge=1, le=1000)] = 20


class StopCall(Frozen):
    """Close a claim; the ledger computes its verdict."""

    hypothesis: Annotated[str, Field(description="id such as H3")]
    reason: Annotated[str, Field(max_length=200)] = "stopped"


class StatusCall(Frozen):
    """Read what is recorded: the campaign, one hypothesis, the runs, the tools, or what is left of the budget.

    Of tools: all by name; with a name as id, its params; with words as id, the tools that are about them.
    """

    what: Literal["campaign", "hypothesis", "runs", "tools", "budget"] = "campaign"
    id: Annotated[str | None, Field(description="H3; a tool's name; or words to find tools by")] = None


class QueryCall(Frozen):
    """Read the newest rows of one kind from this campaign's record: hypotheses, runs, verdicts or failed units."""

    rows: Literal["hypotheses", "runs", "verdicts", "failures"]
    limit: Annotated[int, Field(ge=1, le=50, description="how many rows, newest last")] = 10


class ReportCall(Frozen):
    """Write the campaign's report and return the verdict table."""


CALLS: dict[str, type[Frozen]] = {
    "explore": ExploreCall,
    "register": RegisterCall,
    "run_batch": RunBatchCall,
    "stop": StopCall,
    "status": StatusCall,
    "query": QueryCall,
    "report": ReportCall,
}
"""Planner-facing names and their argument models; a plugin tool's own name is short for `explore`."""


def as_explore(tool: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `explore` for a call of a tool by its own name."""
    params = {k: v for k, v in args.items() if k != "units"}
    return {"tool": tool, "params": params, **({"units": args["units"]} if "units" in args else {})}


def parse(name: str, args: Mapping[str, Any]) -> Any:
    """The checked arguments of a call.

    Raises:
        ParamError: an unknown call or field, with near names; a value that is not allowed.
    """
    if name not in CALLS:
        raise ParamError(unknown("call", name, CALLS))
    model = CALLS[name]
    try:
        return model.model_validate(dict(args))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(p) for p in fault["loc"]) or name
        if fault["type"] == "extra_forbidden":
            raise ParamError(
                f"{name}: unknown field {place!r}. {near_names(place, model.model_fields)}"
            ) from None
        raise ParamError(f"{name}: {place}: {fault['msg'].removeprefix('Value error, ')}") from None
