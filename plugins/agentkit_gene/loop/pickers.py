"""The picker contract, the pickers' names, and how to make one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from agentkit.errors import unknown
from agentkit_gene.loop.errors import NoFeaturesError, UnknownPickerError
from agentkit_gene.loop.ranks import normal_score

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.screen import Library, Screen, View

PERMUTED = "!permuted"


@dataclass(frozen=True)
class Reasons:
    """What spoke for one gene: (set name, contribution) and (tested gene, contribution), largest first."""

    sets: tuple[tuple[str, float], ...] = ()
    neighbours: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Ranking:
    """A picker's answer for one view.

    Args:
        scores: (library,) higher is picked first; wherever there are components, their weighted sum (`of`) or that of
            their normal scores (`pooled`).
        components: (library,) arrays by name: ranks in [0, 1).
        weights: the weight of each component in `scores`.
        names: genes to put first, in any spelling; they are validated, the rest is filled from `scores`.
        reasons: says what spoke for a row; asked only for rows that were picked.
        note: one line for the log (why a fallback was taken).
    """

    scores: NDArray[np.float64]
    components: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    reasons: Callable[[int], Reasons] = lambda row: Reasons()
    note: str = ""

    @classmethod
    def of(cls, parts: Sequence[tuple[str, float, NDArray[np.float64]]], **more: object) -> Ranking:
        """The ranking whose score is the weighted sum of named parts, added in the order given."""
        scores = np.zeros(len(parts[0][2]))
        for _, weight, values in parts:
            scores = scores + weight * values
        components = {name: values for name, _, values in parts}
        weights = {name: weight for name, weight, _ in parts}
        return cls(scores, components, weights, **more)  # type: ignore[arg-type]  # names are the fields'

    @classmethod
    def pooled(cls, parts: Sequence[tuple[str, float, NDArray[np.float64]]], **more: object) -> Ranking:
        """The ranking whose score is the weighted sum of the normal scores of named ranks; the ranks are kept."""
        found = cls.of([(name, weight, normal_score(ranks)) for name, weight, ranks in parts], **more)
        return replace(found, components={name: ranks for name, _, ranks in parts})


class Picker(Protocol):
    """Scores every gene of the library from what a view shows.

    A view's ranking may depend on that view alone: any split of the units gives the same bits. A picker keeps no
    memory between rounds.
    """

    name: str
    version: str

    def propose(self, views: Sequence[View]) -> list[Ranking]:
        """One ranking a view; all views show the same library."""


class RandomPicker:
    """Every untested gene is as likely as any other."""

    name = "random"
    version = "1"

    def propose(self, views: Sequence[View]) -> list[Ranking]:
        """Uniforms keyed by unit, round and gene."""
        return [Ranking(view.uniforms("random")) for view in views]


PAIR_PICKERS = ("prior", "trees", "prior+trees", "prior+ens")
"""Pickers with knowledge that know how to rank pairs."""


def _single(name: str, knowledge: Knowledge) -> Picker:
    """A picker of single genes; each module is imported when it is needed."""
    from agentkit_gene.loop import diversity, ensemble, uncertainty

    makers: dict[str, Callable[[], Picker]] = {
        "prior": lambda: ensemble.PriorPicker(knowledge),
        "trees": lambda: ensemble.TreesPicker(knowledge, prior=False),
        "prior+trees": lambda: ensemble.TreesPicker(knowledge, prior=True),
        "prior+ens": lambda: ensemble.EnsemblePicker(knowledge),
        "gp_thompson": lambda: uncertainty.ThompsonPicker(knowledge),
        "top_uncertain": lambda: uncertainty.UncertainPicker(knowledge, soft=False),
        "soft_uncertain": lambda: uncertainty.UncertainPicker(knowledge, soft=True),
        "coreset": lambda: diversity.CoresetPicker(knowledge),
        "kmeans": lambda: diversity.KMeansPicker(knowledge),
    }
    return makers[name]()


TRANSFER = "xprior+ens"
NAMES = (
    "coreset", "gp_thompson", "kmeans", "prior", "prior+ens", "prior+trees", "random", "soft_uncertain", "top_uncertain",
    "trees", TRANSFER,
)  # fmt: skip


def picker_names() -> list[str]:
    """Names that `make_picker` knows."""
    return list(NAMES)


def split_name(condition: str) -> tuple[str, bool]:
    """(picker, whether its feedback is permuted) of a condition like `prior+ens!permuted`."""
    name = condition.removesuffix(PERMUTED)
    return name, name != condition


def make_picker(
    name: str, library: Library, knowledge: Knowledge | None = None, pool: Sequence[Screen] = ()
) -> Picker:
    """The picker of this name for a library.

    Args:
        name: one of `picker_names()`.
        library: what is picked from; pairs have pickers of their own.
        knowledge: prior knowledge; only `random` does without.
        pool: screens of other studies, read by `xprior+ens` alone.

    Raises:
        UnknownPickerError: with near names.
        NoFeaturesError: when it needs prior knowledge and there is none.
    """
    if name not in NAMES:
        raise UnknownPickerError(unknown("picker", name, NAMES))
    if name == "random":
        return RandomPicker()
    known = need(knowledge, name)
    if library.pairs:
        from agentkit_gene.loop.pairs import PairFeatures, PairPicker

        if name not in PAIR_PICKERS:
            raise UnknownPickerError(unknown("picker of gene pairs", name, ("random", *PAIR_PICKERS)))
        return PairPicker(name, PairFeatures(library, known))
    if name == TRANSFER:
        from agentkit_gene.loop.ensemble import EnsemblePicker
        from agentkit_gene.loop.transfer import transfer_prior

        return EnsemblePicker(known, transfer_prior(library, known, pool))
    return _single(name, known)


def need(knowledge: Knowledge | None, name: str) -> Knowledge:
    """The knowledge, or the error that says where to get some."""
    if knowledge is None:
        raise NoFeaturesError(
            f"picker {name} needs features of genes and none is given: load_knowledge(library) finds them, or use "
            "features=[paths], or screen:sim"
        )
    return knowledge
