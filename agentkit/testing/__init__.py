"""Kits that plugin authors run on their own work: the same ones that the built-in plugins pass.

`ToolCase` and `contract_results` need pytest; the rest of the package does not, so each loads when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentkit.testing.calling import run_tool
    from agentkit.testing.contract import contract_results
    from agentkit.testing.tool_case import ToolCase

__all__ = ["ToolCase", "contract_results", "run_tool"]

_LAZY = {"ToolCase": "tool_case", "contract_results": "contract", "run_tool": "calling"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f"agentkit.testing.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'agentkit.testing' has no attribute {name!r}")
