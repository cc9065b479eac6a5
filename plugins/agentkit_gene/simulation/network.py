"""A gene network as a value: genes, their regulators and kinetic constants. Nothing here computes.

Two kinds of production stand side by side, gene by gene:

* additive (SERGIO, Dibaeinia & Sinha 2020): `basal + sum K H` over activators plus `|K| (1 - H)` over repressors;
* states (GeneNetWeaver, Marbach et al. 2009; BoolODE): `maximum * sum_s alpha_s prod u^s (1-u)^(1-s)` over
  the on/off states of up to eight modules, each with an activity `u` in [0, 1].

H = x^n / (h^n + x^n). Levels are copy numbers, rates are per unit of time.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from agentkit.errors import near_names
from agentkit_gene.simulation.errors import BadNetworkError, UnknownGeneError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_MODULES = 8
"""A rule over more inputs would need more than 256 states."""

GENE_NAME = re.compile(r"[^\s+@>:,;\"]+")


@dataclass(frozen=True)
class Edge:
    """One additive regulator.

    Args:
        regulator: name of the regulating gene.
        strength: K, largest rate it adds; negative means it represses. Never 0.
        half: h, level of half response; None means "derive it from the wild type".
        hill: n, cooperativity.
        uncut: share of the regulation left after a CUT; a repressor's constitutive |K| is not cut.
    """

    regulator: str
    strength: float
    half: float | None = None
    hill: float = 2.0
    uncut: float = 1.0


@dataclass(frozen=True)
class Input:
    """One regulator of a module: chi = uncut * (x / half)^hill."""

    regulator: str
    half: float
    hill: float = 2.0
    activates: bool = True
    uncut: float = 1.0


@dataclass(frozen=True)
class Module:
    """Regulators that act together; its activity lies in [0, 1].

    Independent binding: prod_activators H * prod_deactivators (1 - H).
    Complex: A / (1 + A + A D), with A and D the products of chi over activators and deactivators
    (without deactivators A / (1 + A)).
    """

    inputs: tuple[Input, ...]
    complex: bool = False


@dataclass(frozen=True)
class States:
    """Production by module states: bit j of the index into `alpha` says whether module j is on."""

    maximum: float
    modules: tuple[Module, ...]
    alpha: tuple[float, ...]


@dataclass(frozen=True)
class Gene:
    """One gene.

    Args:
        name: unique; no space, `+`, `@`, `>`, `:` or comma.
        decay: rate of loss, > 0.
        basal: constant production per cell type, >= 0.
        edges: additive regulators.
        states: the rule of a gene that is not additive.
        init: level from which the deterministic wild type starts.
        translation: protein made per transcript and time, for the layer mrna+protein.
        protein_decay: the protein's rate of loss; the transcript's when None.
    """

    name: str
    decay: float = 1.0
    basal: tuple[float, ...] = (0.0,)
    edges: tuple[Edge, ...] = ()
    states: States | None = None
    init: float = 0.0
    translation: float = 1.0
    protein_decay: float | None = None

    def regulators(self) -> Iterator[str]:
        """Names of everything that regulates this gene, with repeats."""
        for edge in self.edges:
            yield edge.regulator
        for module in self.states.modules if self.states else ():
            for item in module.inputs:
                yield item.regulator


@dataclass(frozen=True)
class Network:
    """Genes by name, the cell types their basal rates refer to, and where the structure comes from."""

    name: str
    genes: tuple[Gene, ...]
    types: tuple[str, ...] = ("cell",)
    source: str = ""
    kinetics: str = ""
    rules: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        _check(self)

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each gene."""
        return {gene.name: i for i, gene in enumerate(self.genes)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Gene names in order."""
        return tuple(gene.name for gene in self.genes)

    @cached_property
    def targets(self) -> dict[str, tuple[str, ...]]:
        """For each gene the genes it regulates, in order, each once."""
        found: dict[str, dict[str, None]] = {name: {} for name in self.names}
        for gene in self.genes:
            for regulator in gene.regulators():
                found[regulator][gene.name] = None
        return {name: tuple(t) for name, t in found.items()}

    @property
    def regulators(self) -> tuple[str, ...]:
        """Genes that regulate at least one other gene or themselves, in order."""
        return tuple(name for name in self.names if self.targets[name])

    @cached_property
    def edges(self) -> tuple[tuple[str, str, int], ...]:
        """Every (regulator, target, sign), each pair once; sign 0 where a rule makes it depend."""
        signs: dict[tuple[str, str], int] = {}
        for gene in self.genes:
            for edge in gene.edges:
                signs[edge.regulator, gene.name] = 1 if edge.strength > 0 else -1
            if gene.states:
                signs.update(_signs_of_states(gene))
        return tuple((a, b, s) for (a, b), s in signs.items())

    def gene(self, name: str) -> Gene:
        """The gene of that name, or `UnknownGeneError` with near names."""
        if name not in self.index:
            raise UnknownGeneError(
                f"network {self.name!r} has no gene {name!r}. {near_names(name, self.names)}"
            )
        return self.genes[self.index[name]]

    def descendants(self, names: Iterable[str]) -> frozenset[str]:
        """`names` and everything reachable from them along edges."""
        found, todo = set(names), list(names)
        while todo:
            for target in self.targets[todo.pop()]:
                if target not in found:
                    found.add(target)
                    todo.append(target)
        return frozenset(found)

    @cached_property
    def cyclic(self) -> bool:
        """Whether some gene regulates itself, directly or through others."""
        left = {gene.name: len(set(gene.regulators())) for gene in self.genes}
        ready = [name for name, n in left.items() if n == 0]
        seen = 0
        while ready:
            seen += 1
            for target in self.targets[ready.pop()]:
                left[target] -= 1
                if left[target] == 0:
                    ready.append(target)
        return seen < len(self.genes)


def _signs_of_states(gene: Gene) -> dict[tuple[str, str], int]:
    """Sign of each regulator by whether switching its module on ever raises or lowers the rate."""
    states = gene.states
    assert states is not None  # noqa: S101 - the caller looked
    signs: dict[tuple[str, str], int] = {}
    for j, module in enumerate(states.modules):
        steps = [
            states.alpha[s | 1 << j] - states.alpha[s] for s in range(len(states.alpha)) if not s >> j & 1
        ]
        up, down = any(d > 0 for d in steps), any(d < 0 for d in steps)
        for item in module.inputs:
            sign = (int(up) - int(down)) * (1 if item.activates else -1)
            signs[item.regulator, gene.name] = sign
    return signs


def _check(network: Network) -> None:
    place = f"network {network.name!r}"
    if not network.genes or not network.types:
        raise BadNetworkError(f"{place} has no gene or no cell type")
    if len(network.index) != len(network.genes):
        twice = next(n for i, n in enumerate(network.names) if n in network.names[:i])
        raise BadNetworkError(f"{place}: gene {twice!r} is given twice")
    for gene in network.genes:
        _check_gene(gene, network, f"{place}, gene {gene.name!r}")


def _check_gene(gene: Gene, network: Network, place: str) -> None:
    if not GENE_NAME.fullmatch(gene.name):
        raise BadNetworkError(f'{place}: a name has no space and none of + @ > : , ; "')
    if len(gene.basal) != len(network.types):
        raise BadNetworkError(f"{place}: {len(gene.basal)} basal rates for {len(network.types)} cell types")
    _positive(place, "decay", gene.decay)
    _positive(place, "translation", gene.translation)
    if gene.protein_decay is not None:
        _positive(place, "protein_decay", gene.protein_decay)
    for value in (*gene.basal, gene.init):
        if not (math.isfinite(value) and value >= 0):
            raise BadNetworkError(f"{place}: basal and init are finite and not negative, got {value}")
    for regulator in gene.regulators():
        if regulator not in network.index:
            raise BadNetworkError(
                f"{place}: regulator {regulator!r} is no gene. {near_names(regulator, network.names)}"
            )
    _check_edges(gene, place)
    if gene.states is not None:
        _check_states(gene.states, place)


def _check_edges(gene: Gene, place: str) -> None:
    seen: dict[str, float] = {}
    for edge in gene.edges:
        if edge.regulator in seen:
            signs = "with opposite signs" if edge.strength * seen[edge.regulator] < 0 else "twice"
            raise BadNetworkError(f"{place}: regulator {edge.regulator!r} is listed {signs}; keep one")
        seen[edge.regulator] = edge.strength
        if edge.strength == 0 or not math.isfinite(edge.strength):
            raise BadNetworkError(
                f"{place}: K of {edge.regulator!r} is {edge.strength}; give a finite rate, not 0"
            )
        if edge.half is not None:
            _positive(place, f"h of {edge.regulator!r}", edge.half)
        _positive(place, f"n of {edge.regulator!r}", edge.hill)


def _check_states(states: States, place: str) -> None:
    if len(states.modules) > MAX_MODULES:
        raise BadNetworkError(f"{place}: {len(states.modules)} inputs in one rule; at most {MAX_MODULES}")
    if len(states.alpha) != 1 << len(states.modules):
        raise BadNetworkError(
            f"{place}: {len(states.alpha)} state levels for {len(states.modules)} modules; "
            f"{1 << len(states.modules)} are needed"
        )
    for value in (states.maximum, *states.alpha):
        if not (math.isfinite(value) and value >= 0):
            raise BadNetworkError(f"{place}: rates of a rule are finite and not negative, got {value}")
    for module in states.modules:
        for item in module.inputs:
            _positive(place, f"h of {item.regulator!r}", item.half)
            _positive(place, f"n of {item.regulator!r}", item.hill)


def _positive(place: str, what: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise BadNetworkError(f"{place}: {what} is {value}; it must be finite and above 0")
