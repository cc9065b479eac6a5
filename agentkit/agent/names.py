"""Tool names on the wire: providers allow letters, digits, `_` and `-` only, so `noise.text` travels as `noise__text`."""

from __future__ import annotations

from agentkit.errors import PlannerError


def to_wire(name: str) -> str:
    """The name as a provider accepts it."""
    return name.replace(".", "__")


def from_wire(name: str) -> str:
    """The tool's own name."""
    return name.replace("__", ".")


def check_wire_names(names: list[str]) -> None:
    """Refuse two tools that would travel under one name, or one that is too long.

    Raises:
        PlannerError: naming both tools.
    """
    seen: dict[str, str] = {}
    for name in names:
        wire = to_wire(name)
        if from_wire(wire) != name or len(wire) > 64:
            raise PlannerError(f"tool {name!r} cannot travel to a provider: no '__', at most 64 characters")
        if wire in seen:
            raise PlannerError(f"tools {seen[wire]!r} and {name!r} would travel under one name {wire!r}")
        seen[wire] = name
