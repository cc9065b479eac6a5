"""What can go wrong with a site, a technique or a target, each with the thing, the place and the next step."""

from __future__ import annotations

from agentkit.errors import ParamError, ToolError


class UnknownSiteError(ParamError):
    """No head of the target matches the pattern, or the head or layer number is too high."""


class SiteNotHitError(ToolError):
    """A requested head exists but its attention was never computed in the forward pass."""


class NotSelfAttentionError(ToolError):
    """`identity` needs queries and keys of one sequence."""


class UnsupportedAttentionError(ToolError):
    """This technique cannot be done on the way this model computes attention."""


class NoJointStreamError(ToolError):
    """The technique needs image and text rows in one attention, and none were found."""


class MemoryBudgetError(ToolError):
    """Even the smallest piece of the sweep is larger than `memory_mb`."""
