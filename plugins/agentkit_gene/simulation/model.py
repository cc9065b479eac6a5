"""A network made ready to simulate: every h known, the wild type's levels, thresholds, and who is affected by what."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agentkit import BASELINE
from agentkit_gene.simulation.errors import BadNetworkError, BadPerturbationError, NoSteadyStateError
from agentkit_gene.simulation.perturbation import Effect, Perturbation, effect_of
from agentkit_gene.simulation.program import Floats, Program, build_program
from agentkit_gene.simulation.steady import Deterministic, Rest, rest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit_gene.simulation.network import Network

PROTEIN = "mrna+protein"
SPLICED = "unspliced+spliced"
SPLICE_RATIO = 4.0
"""Spliced over unspliced transcripts at rest (SERGIO's usual value)."""


@dataclass(frozen=True)
class Model:
    """Frozen kinetics.

    Attributes:
        network: every edge has its h.
        layers: `mrna`, `mrna+protein` or `unspliced+spliced`.
        wild_type: deterministic levels per gene and type, (genes, types), in gene order.
        settled: whether the wild type is a stable steady state (False: it oscillates, the level is a time mean).
        start: levels cells start from, (genes, types).
    """

    network: Network
    layers: str
    wild_type: Floats
    settled: bool
    start: Floats

    @property
    def read_gain(self) -> float:
        """Level read per level of the first species: spliced transcripts are read where there are any."""
        return SPLICE_RATIO if self.layers == SPLICED else 1.0

    @property
    def scale(self) -> Floats:
        """m0 = max(mean wild-type level over types, 1), per gene: what `level_rel` compares with."""
        return np.asarray(np.maximum(self.wild_type.mean(axis=1) * self.read_gain, 1.0))

    def thresholds(self) -> Floats:
        """Level above which a gene counts as on: its smallest h as a regulator, else m0. Per gene."""
        found = self.scale.copy()
        halves: dict[str, float] = {}
        for gene in self.network.genes:
            for edge in gene.edges:
                if edge.half is not None:
                    halves[edge.regulator] = min(edge.half, halves.get(edge.regulator, np.inf))
            for module in gene.states.modules if gene.states else ():
                for item in module.inputs:
                    halves[item.regulator] = min(item.half, halves.get(item.regulator, np.inf))
        for name, half in halves.items():
            found[self.network.index[name]] = half * self.read_gain
        return found

    def effects(self, perturbations: Sequence[Perturbation]) -> list[tuple[str, Effect]]:
        """(canonical name, effect) of each perturbation.

        Raises:
            BadPerturbationError: a fold on a gene that the wild type does not express.
        """
        for perturbation in perturbations:
            for part in perturbation.parts:
                if part.kind == "OE" and not part.constant and part.value > 1:
                    self._require_expressed(perturbation, part.gene)
        return [(p.name, effect_of(p, self.network)) for p in perturbations]

    def _require_expressed(self, perturbation: Perturbation, gene: str) -> None:
        if self.network.gene(gene) and not self.wild_type[self.network.index[gene]].any():
            raise BadPerturbationError(
                f"perturbation {perturbation.name!r}: {gene!r} is not expressed in the wild type, so a fold does nothing; "
                f"write OE:{gene}@+5 to add a constant rate"
            )

    def program(
        self,
        effects: Sequence[tuple[str, Effect]],
        *,
        everything: bool = False,
        base: tuple[str, Effect] = (BASELINE, Effect()),
    ) -> Program:
        """Rows for the baseline (or another condition that stands alone) and these effects."""
        return build_program(
            self.network, effects, everything=everything, translation=self.layers == PROTEIN, base=base
        )

    def deterministic(self, program: Program) -> Deterministic:
        """The noise-free equations of these rows."""
        return Deterministic(program, len(self.network.types), layered=self.layers == PROTEIN)

    def rest_of(self, program: Program) -> Rest:
        """Noise-free levels of every row, reached from the wild type.

        Raises:
            NoSteadyStateError: the wild type or a condition keeps moving.
        """
        if not self.settled:
            raise NoSteadyStateError(
                f"network {self.network.name!r} has no stable wild type (it oscillates); use physics leap or cle"
            )
        found = rest(self.deterministic(program), self.wild_type[program.gene], cyclic=self.network.cyclic)
        if not found.settled.all():
            raise NoSteadyStateError("a perturbed network does not come to rest; use physics leap or cle")
        return found


def build_model(network: Network, layers: str = "mrna") -> Model:
    """The model of a network; missing h are derived from its deterministic wild type and frozen.

    h of a regulator is the mean over cell types of its steady level.

    Raises:
        NoSteadyStateError: some h is missing and the wild type has no stable steady state.
        BadNetworkError: a regulator without h is never expressed.
    """
    missing = any(e.half is None for g in network.genes for e in g.edges)
    if not missing:
        return _modelled(network, layers, _wild_type(network, layers))
    return _derived(network, layers)


def _derived(network: Network, layers: str) -> Model:
    """Fixed point h = mean level(h); exact after one round a path step where the graph has no cycle."""
    halves = dict.fromkeys(network.regulators, 1.0)
    start: Floats | None = None
    for attempt in range(400):
        filled = with_halves(network, halves)
        found = _wild_type(filled, layers, start)
        start = found.level
        if not found.settled[0]:
            raise NoSteadyStateError(
                f"network {network.name!r} has no stable wild type, so h cannot be derived; give h in the file"
            )
        level = _regulator_level(filled, layers, found.level)
        new = {name: float(level[filled.index[name]].mean()) for name in halves}
        if new == halves or all(abs(new[n] - h) <= 1e-13 * h for n, h in halves.items()):
            return _modelled(filled, layers, found)
        damped = attempt > network_depth_limit(network)
        halves = {n: (0.5 * (h + new[n]) if damped else new[n]) or 1e-300 for n, h in halves.items()}
    raise NoSteadyStateError(f"network {network.name!r}: derived h does not settle; give h in the file")


def network_depth_limit(network: Network) -> int:
    """Rounds after which an acyclic network must have settled."""
    return len(network.genes) + 1 if not network.cyclic else 10


def with_halves(network: Network, halves: dict[str, float]) -> Network:
    """The network with every missing h filled in by regulator.

    Raises:
        BadNetworkError: some h would be 0, because the wild type does not express the regulator.
    """
    for name, half in halves.items():
        if half <= 1e-250:
            raise BadNetworkError(
                f"network {network.name!r}: {name!r} regulates but is never expressed, so h cannot be derived; give h"
            )
    genes = tuple(
        replace(
            g,
            edges=tuple(e if e.half is not None else replace(e, half=halves[e.regulator]) for e in g.edges),
        )
        for g in network.genes
    )
    return replace(network, genes=genes)


def _wild_type(network: Network, layers: str, start: Floats | None = None) -> Rest:
    program = build_program(network, translation=layers == PROTEIN)
    model = Deterministic(program, len(network.types), layered=layers == PROTEIN)
    init = np.array([[gene.init] * len(network.types) for gene in network.genes])
    found = rest(model, (init if start is None else start)[program.gene], cyclic=network.cyclic)
    order = program.baseline_rows()
    return Rest(found.level[order], found.settled, found.last[order])


def _modelled(network: Network, layers: str, found: Rest) -> Model:
    return Model(network, layers, found.level, bool(found.settled[0]), found.last)


def _regulator_level(network: Network, layers: str, level: Floats) -> Floats:
    if layers != PROTEIN:
        return level
    gain = np.array([g.translation / (g.protein_decay or g.decay) for g in network.genes])
    return np.asarray(level * gain[:, None])
