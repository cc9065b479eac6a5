"""The A/A tool: any tool measured twice on unrelated seeds, as if the second time were a perturbation.

Every hypothesis about it is a true null, so whatever the ledger finds in it is false.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from pydantic import Field

import agentkit
from agentkit.errors import ParamError
from agentkit.plugins import Plugins, load_plugins
from agentkit.seeds import derive_seed
from agentkit.types import BASELINE, Metric, Unit

NAME = "testing.again"
SECOND = "again"


class Again(agentkit.Params):
    """What is measured twice."""

    tool: str
    params: dict[str, Any] = Field(default_factory=dict)
    condition: str
    metric: str
    number: int = Field(default=0, description="tells apart claims that ask the same thing")
    modules: tuple[str, ...] = ()


@cache
def _plugins(modules: tuple[str, ...]) -> Plugins:
    return load_plugins(modules=modules)


@agentkit.tool(name=NAME, metrics=[Metric("scaled", 0, 1), Metric("raw")], version="1")
def again(params: Again, units: Sequence[Unit], ctx: agentkit.Context) -> agentkit.Measurements:
    """Measure one condition of a tool on two unrelated seeds per unit: `baseline` and `again`.

    `scaled` maps the metric's declared range to [0, 1] (0 where it has none); `raw` is the value itself.
    """
    tool = _plugins(params.modules).tool(params.tool)
    metric = tool.metric(params.metric)
    twins = [Unit(index=2 * i + k, seed=derive_seed(u.seed, k)) for i, u in enumerate(units) for k in (0, 1)]
    table = tool(tool.parse(params.params), twins, _Asked(ctx, params.condition))
    if params.condition not in table.conditions:
        raise ParamError(f"{params.tool} has no condition {params.condition!r} with these params")
    values = table.column(params.metric, params.condition).reshape(len(units), 2)
    scaled = 0 * values
    if metric.low is not None and metric.high is not None:
        scaled = ((values - metric.low) / (metric.high - metric.low)).clip(0, 1)
    return agentkit.Measurements.from_arrays(units, [BASELINE, SECOND], {"scaled": scaled, "raw": values})


class _Asked:
    """The context of the worker, asking the inner tool for one condition."""

    def __init__(self, ctx: agentkit.Context, condition: str) -> None:
        self._ctx = ctx
        self.conditions = frozenset({BASELINE, condition})

    def wants(self, condition: str) -> bool:
        return condition in self.conditions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)


@agentkit.hookimpl
def agentkit_register_tools(register: Callable[[agentkit.Tool], None]) -> None:
    """Register the A/A tool; a lab asks for it by `modules`."""
    register(again)
