"""The hooks a plugin may implement. Each hands over a `register`, so a hook can gain arguments and never break.

Hooks register and return: they do no work and import nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - plugin authors read these at run time
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from agentkit.measurements import Measurements
    from agentkit.tools import TargetLoader, Tool

PROJECT = "agentkit"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def agentkit_register_tools(register: Callable[[Tool], None]) -> None:
    """Register tools: `register(my_tool)`."""


@hookspec
def agentkit_register_targets(register: Callable[[TargetLoader], None]) -> None:
    """Register loaders of URI schemes: `register(my_loader)`."""


@hookspec
def agentkit_register_planners(register: Callable[..., None]) -> None:
    """Register chat-model factories: `register("prefix", factory)`; `factory(rest)` returns a chat model."""


@hookspec
def agentkit_register_commands(register: Callable[..., None]) -> None:
    """Register subcommands of the command line: `register("name", "package.module:app", help="…")`."""


@hookspec
def agentkit_after_run(run: dict[str, Any], measurements: Measurements) -> None:
    """Observe a finished run (exporters). Errors are isolated and logged, never returned to the run."""
