"""The files of a new plugin package: one module, its pyproject, its contract test. They pass as they are written."""

from __future__ import annotations

MODULE = '''"""Shift a level and see it move: replace this by what you perturb and what you measure."""

from typing import Annotated

from pydantic import Field

import agentkit
from agentkit import Metric, Params


class Shift(Params):
    """What a user may set; ranges and descriptions are what planners and people see."""

    by: Annotated[float, Field(ge=-0.5, le=0.5, description="how far the level is shifted")] = 0.1


@agentkit.tool(name="{name}.shift", metrics=[Metric("level", low=-1, high=2)], version="1")
def shift(params: Shift, units, ctx):
    """Draw a level for each unit and shift it by a fixed amount."""
    table = agentkit.Measurements.builder(units)
    for unit in units:
        level = unit.rng("level").random()  # all randomness comes from the unit
        table.add(unit, "baseline", "level", level)
        table.add(unit, f"by={{params.by}}", "level", level + params.by)
    return table.build()


@agentkit.hookimpl
def agentkit_register_tools(register):
    register(shift)
'''
PYPROJECT = """[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "agentkit-{dashed}"
version = "0.1.0"
description = "An agentkit plugin."
requires-python = ">=3.11"
dependencies = ["agentkit-perturb"]

[project.entry-points.agentkit]
{name} = "agentkit_{name}"

[tool.hatch.build.targets.wheel]
only-include = ["agentkit_{name}.py"]
"""
TEST = """from agentkit.testing import ToolCase

from agentkit_{name} import shift


class TestShift(ToolCase):
    tool = shift
    params = {{"by": 0.2}}
    zero = {{"by": 0.0}}
"""


def files(name: str) -> dict[str, str]:
    """Text by file name."""
    words = {"name": name, "dashed": name.replace("_", "-")}
    return {
        "pyproject.toml": PYPROJECT.format(**words),
        f"agentkit_{name}.py": MODULE.format(**words),
        f"test_{name}.py": TEST.format(**words),
    }
