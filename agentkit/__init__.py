"""agentkit: the bench on which perturbation research is run.

A planner proposes what to perturb, plugins do it on workers, a SQL ledger keeps every hypothesis and
outcome, and code, never the planner, says what the data show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit import errors
from agentkit.hookspecs import hookimpl
from agentkit.seeds import derive_seed
from agentkit.tools import Context, Params, TargetLoader, Tool, target, tool
from agentkit.types import BASELINE, Metric, Resources, Unit

if TYPE_CHECKING:
    from agentkit.laboratory import Lab, lab
    from agentkit.measurements import Measurements

__version__ = "0.1.0"

__all__ = [
    "BASELINE",
    "Context",
    "Lab",
    "Measurements",
    "Metric",
    "Params",
    "Resources",
    "TargetLoader",
    "Tool",
    "Unit",
    "derive_seed",
    "errors",
    "hookimpl",
    "lab",
    "target",
    "tool",
]

_LAZY = {  # heavy ones load on first use, so that `agentkit --help` and plugin imports stay quick
    "Lab": "agentkit.laboratory",
    "Measurements": "agentkit.measurements",
    "lab": "agentkit.laboratory",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'agentkit' has no attribute {name!r}")
