"""Genes: simulate perturbations of single cells, score predictions, and choose the next genes to perturb.

Nothing heavy is imported here: kernels sit in sibling modules and load when a tool runs.
"""

from __future__ import annotations

from collections.abc import Callable

import agentkit
from agentkit import TargetLoader, Tool


@agentkit.hookimpl
def agentkit_register_tools(register: Callable[[Tool], None]) -> None:
    """Register `gene.*`."""
    from agentkit_gene.screens.tools import TOOLS as SCREEN_TOOLS
    from agentkit_gene.simulation.score_tool import score
    from agentkit_gene.simulation.tools import TOOLS

    for tool in (*TOOLS, score, *SCREEN_TOOLS):
        register(tool)


@agentkit.hookimpl
def agentkit_register_targets(register: Callable[[TargetLoader], None]) -> None:
    """Register the targets that ship with this plugin."""
    from agentkit_gene.screens.target import features, screen
    from agentkit_gene.simulation.target import grn

    for target in (grn, screen, features):
        register(target)


@agentkit.hookimpl
def agentkit_register_commands(register: Callable[..., None]) -> None:
    """Register `agentkit gene next` and `agentkit gene record`."""
    register(
        "gene", "agentkit_gene.screens.commands:app", help="Which genes to test next, and what the lab found."
    )
