"""`screen:sim`: a knock-out screen of a simulated network, whose truth and whose prior knowledge are known.

The network comes from the scale-free generator, the truth from the noise-free physics: nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agentkit import BASELINE, derive_seed
from agentkit_gene.loop.ranks import keyed_normals
from agentkit_gene.loop.screen import Library, Screen
from agentkit_gene.loop.sources import Edges, GeneSets, GeneTable
from agentkit_gene.screens.versions import SIMULATION
from agentkit_gene.simulation.generator import scale_free
from agentkit_gene.simulation.model import build_model
from agentkit_gene.simulation.moments import moments_of
from agentkit_gene.simulation.perturbation import parse_perturbation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agentkit_gene.loop.sources import Source
    from agentkit_gene.simulation.network import Network

    Floats = NDArray[np.float64]

HIT_SHARE = 0.05
"""Hits are at most this share of the library: the largest true effects, zero effects left out."""

ESSENTIAL_SHARE = 0.03
MOVED = 1e-12
"""An effect below this is rounding."""


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What is known about the genes before the screen, each piece true with a chosen probability.

    Attributes:
        sets: name -> genes; one set a regulator, named after it.
        edges: (regulator, target), each once.
        expression: wild-type level of every gene by cell type, (genes, types).
        essential: genes called essential, drawn at random: they have nothing to do with the effects.
    """

    sets: dict[str, tuple[str, ...]]
    edges: tuple[tuple[str, str], ...]
    expression: Floats
    essential: frozenset[str]

    def sources(self, genes: Sequence[str]) -> list[Source]:
        """The same as files would give it; `genes` are the rows of `expression`."""
        types = [f"type{i}" for i in range(self.expression.shape[1])]
        return [
            GeneSets("path", self.sets, "simulated regulons"),
            Edges("ppi", [(a, "interacts-with", b) for a, b in self.edges], "simulated edges"),
            GeneTable("expr", list(genes), types, self.expression, "wild-type levels"),
        ]


@dataclass(frozen=True, eq=False)
class SimulatedScreen:
    """Truth of one simulated screen.

    Attributes:
        reporter: the gene that is read, which is the one with most ancestors.
        genes: the library, every gene of the network, sorted.
        effect: log2((m_KO + 1) / (m_WT + 1)) of the reporter per gene, noise-free; exactly 0 unless the gene is the
            reporter or one of its ancestors.
        knowledge: what is known beforehand.
        noise: sd of the measurement, in units of the sd of the ancestors' non-zero effects.
    """

    reporter: str
    genes: tuple[str, ...]
    effect: Floats
    knowledge: Knowledge
    noise: float

    @property
    def hits(self) -> NDArray[np.bool_]:
        """The largest true effects: at most 5 % of the library, none of them zero."""
        size = np.abs(self.effect)
        first = np.argsort(-size, kind="stable")[: max(1, round(HIT_SHARE * len(self.genes)))]
        found = np.zeros(len(self.genes), dtype=bool)
        found[first] = size[first] > MOVED
        return found

    def measured(self, seed: int) -> Floats:
        """Scores as one screen would read them; the noise of a gene depends on the seed and its name only."""
        if self.noise == 0:
            return self.effect.copy()
        noise = self.noise * self._scale() * keyed_normals(self.genes, seed, "screen")
        return np.asarray(self.effect + noise)

    def screen(self, name: str, seed: int) -> Screen:
        """The finished screen as one unit sees it: measured scores, true hits."""
        library = Library(
            name=name,
            symbols=self.genes,
            task=f"find the genes whose knock-out changes the expression of {self.reporter}",
            measurement=f"log2 fold change of {self.reporter} in the knock-out, noise-free physics plus measurement noise",
            essential=self.knowledge.essential,
        )
        return Screen(library, self.measured(seed), self.hits)

    def _scale(self) -> float:
        """Sd of the non-zero effects; the reporter's own, which is several times any other, left out."""
        own = np.array(self.genes) == self.reporter
        moved = self.effect[(np.abs(self.effect) > MOVED) & ~own]
        return float(moved.std()) if len(moved) else 0.0


def simulate_screen(*, genes: int, seed: int, noise: float, prior: float) -> SimulatedScreen:
    """The screen of one network.

    Args:
        genes: size of the network, 200 to 20 000; every gene is in the library.
        seed: of the network and of what is known about it.
        noise: sd of the measurement noise, in sds of the ancestors' non-zero effects.
        prior: probability that a member of a set, or an edge, is true; as many false ones take the place of those left out.
    """
    network = scale_free(genes, seed)
    model = build_model(network)
    reporter, ancestors = most_regulated(network)
    names = tuple(sorted(network.names))
    found = moments_of(model, [parse_perturbation(f"KO:{g}") for g in (*ancestors, reporter)], lna=False)
    row = network.index[reporter]
    base = found[BASELINE].mean[row].mean()
    effect = dict.fromkeys(names, 0.0)
    for gene in (*ancestors, reporter):
        level = found[parse_perturbation(f"KO:{gene}").name].mean[row].mean()
        effect[gene] = float(np.log2((level + 1) / (base + 1)))
    level_of = dict(zip(network.names, model.wild_type, strict=True))
    expression = np.array([level_of[g] for g in names])
    knowledge = _knowledge(network, names, expression, prior, derive_seed(SIMULATION, genes, seed))
    return SimulatedScreen(reporter, names, np.array([effect[g] for g in names]), knowledge, noise)


def most_regulated(network: Network) -> tuple[str, tuple[str, ...]]:
    """The gene with most ancestors (the first of them) and its ancestors, in the network's order."""
    above: dict[str, frozenset[str]] = {}
    for gene in network.genes:  # the generator lists regulators before their targets
        parents = set(gene.regulators())
        above[gene.name] = frozenset(parents.union(*(above[p] for p in parents)))
    reporter = max(network.names, key=lambda name: len(above[name]))
    return reporter, tuple(name for name in network.names if name in above[reporter])


def _knowledge(
    network: Network, names: Sequence[str], expression: Floats, prior: float, seed: int
) -> Knowledge:
    """True sets and edges, each piece kept with probability `prior` and else replaced by a false one."""
    rng = np.random.Generator(np.random.PCG64(derive_seed(seed, "knowledge")))
    sets = {}
    for regulator in network.regulators:
        true = (regulator, *network.targets[regulator])
        kept = [g for g in true if rng.random() < prior]
        sets[f"{regulator} and its targets"] = tuple(sorted([*kept, *_others(names, true, len(kept), rng)]))
    true_edges = [(a, b) for a, b, _ in network.edges]
    kept_edges = [e for e in true_edges if rng.random() < prior]
    edges = (*kept_edges, *_other_edges(names, true_edges, len(kept_edges), rng))
    chosen = np.argsort(rng.random(len(names)), kind="stable")[: round(ESSENTIAL_SHARE * len(names))]
    return Knowledge(sets, edges, expression, frozenset(names[i] for i in chosen))


def _others(names: Sequence[str], true: Sequence[str], kept: int, rng: np.random.Generator) -> list[str]:
    """As many false members as true ones are missing, distinct; fewer when the library has no more."""
    known, wanted = set(true), min(len(true) - kept, len(names) - len(true))
    found: dict[str, None] = {}
    while len(found) < wanted:
        gene = names[int(rng.random() * len(names))]
        if gene not in known:
            found[gene] = None
    return list(found)


def _other_edges(
    names: Sequence[str], true: Sequence[tuple[str, str]], kept: int, rng: np.random.Generator
) -> list[tuple[str, str]]:
    """As many false edges as true ones are missing, both ends uniform: a false edge says nothing about who regulates."""
    known, wanted = set(true), len(true) - kept
    found: dict[tuple[str, str], None] = {}
    while len(found) < wanted:
        a, b = (names[int(rng.random() * len(names))] for _ in range(2))
        if a != b and (a, b) not in known:
            found[a, b] = None
    return list(found)
