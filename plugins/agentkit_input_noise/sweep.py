"""What every sweep over kinds and strengths shares: its params, and the names of its conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import AfterValidator, Field

from agentkit_input_noise.errors import NothingPerturbedError

if TYPE_CHECKING:
    from agentkit import Context

MOST_STRENGTHS = 16
CHANCE = "chance"
"""The condition whose answers are drawn by lot: the floor of a curve."""

SURE_OF_AN_EDIT = 30
"""Expected edits from which none at all is no chance (e^-30) but noise that does nothing."""

T = TypeVar("T")


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} is given twice")
    return values


def _no_zero(strengths: tuple[float, ...]) -> tuple[float, ...]:
    if 0 in strengths:
        raise ValueError("leave out 0: baseline is strength zero")
    return strengths


Strengths = Annotated[
    tuple[Annotated[float, Field(ge=0, le=1)], ...],
    Field(
        min_length=1, max_length=MOST_STRENGTHS, description="strengths in (0, 1]; baseline is strength zero"
    ),
    AfterValidator(_no_zero),
    AfterValidator(_distinct),
]

Distinct = AfterValidator(_distinct)


def name_of(kind: str, strength: float) -> str:
    """The condition of one kind at one strength: `typos=0.1`."""
    return f"{kind}={strength:g}"


def wanted(
    kinds: tuple[str, ...], strengths: tuple[float, ...], ctx: Context
) -> dict[str, tuple[str, float]]:
    """The conditions of a sweep that were asked for, in the order of kinds, then strengths."""
    named = {name_of(kind, s): (kind, s) for kind in kinds for s in strengths}
    return {name: cell for name, cell in named.items() if ctx.wants(name)}


def require_edits(kind: str, strength: float, edited: int, editable: int, items: int) -> None:
    """Refuse noise that silently does nothing to a unit.

    Raises:
        NothingPerturbedError: no item has a place to edit, or so many places have none edited that it is no chance.
    """
    if editable == 0:
        raise NothingPerturbedError(
            f"{kind} finds nothing to edit in any of {items} items; choose another kind or other texts"
        )
    if edited == 0 and strength * editable >= SURE_OF_AN_EDIT:
        raise NothingPerturbedError(
            f"{kind}={strength:g} edits nothing in {items} items ({editable} places); the texts are too short for it"
        )
