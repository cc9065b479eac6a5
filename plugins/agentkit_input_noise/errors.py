"""Errors of this plugin that a caller may want to tell apart."""

from __future__ import annotations

from agentkit.errors import ToolError


class NothingPerturbedError(ToolError):
    """A kind of noise finds no place that it could edit in any item of a unit."""
