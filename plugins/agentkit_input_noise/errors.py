"""Errors of this plugin that a caller may want to tell apart."""

from __future__ import annotations

from agentkit.errors import ToolError


class NothingPerturbedError(ToolError):
    """A kind of noise finds no place that it could edit in any item of a unit."""


class LabelMismatchError(ToolError):
    """Labels and words do not belong together, or a tagger returned another number of labels than words."""


class VariantsNeededError(ToolError):
    """A kind that needs rewritten texts was asked for on data that has no rules for it."""


class TargetNotDeterministicError(ToolError):
    """A target gives other outputs on a second pass over the same input (dropout is on)."""


class UnreachableRadiusError(ToolError):
    """A radius that no outcome of the draws could certify; the message holds the largest reachable one."""


class NotDifferentiableError(ToolError):
    """No gradient reaches the input of a target; the message names the first module that breaks it."""


class UnsupportedLayerError(ToolError):
    """A layer whose bounds are not known; the message lists those that are."""
