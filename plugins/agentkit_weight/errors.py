"""What can go wrong when weights are perturbed, beyond the house's own errors."""

from __future__ import annotations

from agentkit.errors import AgentkitError, ToolError


class SiteNotHitError(ToolError):
    """No module has that name, or a hooked module never ran."""


class UnsupportedSiteError(ToolError):
    """The module exists but is not a linear layer."""


class DataError(ToolError):
    """The data cannot be used as they are; the message holds the first offending row."""


class NonFiniteLossError(ToolError):
    """Too many probes gave a loss that is not a finite number."""


class DegenerateLossError(ToolError):
    """The loss is exactly zero, step after step: its precision is used up."""


class PrecisionError(ToolError):
    """The perturbation is smaller than what the weights' number format can hold."""


class InfeasibleBudgetError(ToolError):
    """No allocation of bits fits the size that was asked for."""


class LogMismatchError(ToolError):
    """A byte log has a gap, a duplicate, or belongs to other base weights or another noise rule."""


class ReplicaDivergedError(AgentkitError):
    """Two replicas of one run hold different weights; the run must not go on."""


class QuorumLostError(AgentkitError):
    """Too few workers answered before the deadline; the committed log stays valid."""
