"""Kits that plugin authors run on their own work: the same ones that the built-in plugins pass."""

from __future__ import annotations

from agentkit.testing.tool_case import ToolCase, run_tool

__all__ = ["ToolCase", "run_tool"]
