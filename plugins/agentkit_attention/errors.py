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


class BadObjectiveError(ToolError):
    """A score is not one finite number per item inside its declared range."""


class JudgeNotIndependentError(ParamError):
    """The judge of a search is the objective it was searched with."""


class BadSearchError(ParamError):
    """A search asks for more heads, rounds or units than there are."""


class BadLabelsError(ParamError):
    """Labels of one class only, or too few items of a class to test on."""


class ProbeTooWeakError(ToolError):
    """No layer's probe reaches the accuracy that an edit needs."""
