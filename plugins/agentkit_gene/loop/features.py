"""What is known about genes before a screen (being built)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Knowledge(Protocol):
    """Prior knowledge about the genes of one library."""

    other_names: Mapping[str, Sequence[str]]
