"""What can be wrong with a screen, a feature source or a picker; each a house error class."""

from __future__ import annotations

from agentkit.errors import ParamError, TargetError, ToolError


class BadScreenError(TargetError):
    """A screen or results file cannot be used; the message names the file, the column and the first bad line."""


class BadFeatureError(TargetError):
    """A feature file is not of its kind, or covers too little of the library."""


class UnknownPickerError(ParamError):
    """A picker is named that does not exist; near names are offered."""


class LoopStateError(ToolError):
    """A loop is told something that does not fit its library, or asked for more than it can give."""


class NoFeaturesError(ToolError):
    """A picker needs prior knowledge about genes and no source was given or found."""
