"""What can be wrong with a network, a perturbation, a step or a prediction; each a house error class."""

from __future__ import annotations

from agentkit.errors import ParamError, TargetError, ToolError


class BadNetworkError(TargetError):
    """A network file or object contradicts itself; the message names the file and the line or gene."""


class UnsignedNetworkError(BadNetworkError):
    """An edge list says who regulates whom, but not whether up or down."""


class UnknownGeneError(ParamError):
    """A gene is named that the network does not have; near names are offered."""


class UnknownEdgeError(ParamError):
    """An edge is named that the network does not have; the regulator's targets are listed."""


class BadPerturbationError(ParamError):
    """A perturbation string cannot be read, or its value lies outside its range."""


class UnsafeStepError(ParamError):
    """The time step is too long for the kernel to be right; the message names a safe one."""


class NoSteadyStateError(ToolError):
    """The deterministic network does not come to rest at a stable point."""


class TooLargeError(ParamError):
    """The job would need more conditions or memory than allowed; the message holds the estimate."""


class BadPredictionError(ToolError):
    """A prediction file does not cover what it must, or says it in the wrong scale."""


class BadTruthError(ToolError):
    """The data to score against have no control, too few cells or too few perturbations."""
