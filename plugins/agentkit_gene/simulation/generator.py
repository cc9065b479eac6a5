"""Random networks with the shape of a bacterial one: hub regulators, few inputs a gene, more activation than repression.

Shares are those counted in E. coli RegulonDB 6.7 (3758 edges, 178 regulators, 1565 genes). Only plain uniform
doubles of PCG64 are used, whose stream numpy keeps fixed, so one seed is one network for good.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from agentkit import derive_seed
from agentkit_gene.simulation.errors import BadNetworkError
from agentkit_gene.simulation.network import Edge, Gene, Network

VERSION = "1"
IN_DEGREE = (0.385, 0.251, 0.145, 0.096, 0.034, 0.060, 0.016, 0.013)
REGULATORS = 0.11
ACTIVATORS = 0.56
MASTERS = 1 / 3
"""Share of the regulators that nothing regulates."""

DECAY = 0.8


def scale_free(genes: int, seed: int, *, types: int = 9, self_loops: float = 0.0, cycles: int = 0) -> Network:
    """A scale-free network with additive kinetics.

    11 % of genes regulate; a target's in-degree is drawn from 1..8 (mean 2.45); regulators are chosen by
    preferential attachment on out-degree. |K| is uniform on 1-5, n 2, decay 0.8; a master's basal rate is uniform
    on 0.2-0.5 or 0.7-1.0, per type.

    Args:
        genes: how many, 2 to 50 000.
        seed: any whole number.
        types: cell types.
        self_loops: share of genes that also regulate themselves (0.03 in E. coli).
        cycles: edges added from a later regulator back to an earlier one; h is frozen from the acyclic network.
    """
    if not 2 <= genes <= 50_000 or not 1 <= types <= 100 or not 0 <= self_loops <= 1 or cycles < 0:
        raise BadNetworkError(
            f"scalefree?genes={genes}&types={types}&self_loops={self_loops}&cycles={cycles}: genes 2 to 50000, "
            "types 1 to 100, self_loops in [0, 1], cycles >= 0"
        )
    rng = np.random.Generator(np.random.PCG64(derive_seed("scalefree", VERSION, genes, seed, types)))
    n_regulators = max(1, round(REGULATORS * genes))
    n_masters = max(1, round(MASTERS * n_regulators))
    out_degree = np.zeros(n_regulators)
    built = [_master(f"G{i}", types, rng) for i in range(n_masters)]
    for i in range(n_masters, genes):
        chosen = _regulators(out_degree[: min(i, n_regulators)], rng)
        out_degree[chosen] += 1
        built.append(
            Gene(f"G{i}", decay=DECAY, basal=(0.0,) * types, edges=tuple(_edge(j, rng) for j in chosen))
        )
    network = Network(
        f"scalefree-{genes}-{seed}",
        tuple(built),
        tuple(f"type{t}" for t in range(types)),
        source=f"generated, version {VERSION}, seed {seed}",
        kinetics="generated",
    )
    if not self_loops and not cycles:
        return network
    return _with_loops(network, n_regulators, self_loops, cycles, rng)


def _master(name: str, types: int, rng: np.random.Generator) -> Gene:
    def rate() -> float:
        low, high = (0.2, 0.5) if rng.random() < 0.5 else (0.7, 1.0)
        return low + (high - low) * float(rng.random())

    return Gene(name, decay=DECAY, basal=tuple(rate() for _ in range(types)))


def _regulators(out_degree: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Distinct regulators, each with chance proportional to its out-degree + 1."""
    size = min(1 + int(np.searchsorted(np.cumsum(IN_DEGREE), rng.random())), len(IN_DEGREE), len(out_degree))
    weight = out_degree + 1.0
    chosen: list[int] = []
    for _ in range(size):
        cumulative = np.cumsum(weight)
        j = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
        chosen.append(min(j, len(weight) - 1))
        weight[chosen[-1]] = 0.0
    return chosen


def _edge(regulator: int, rng: np.random.Generator) -> Edge:
    sign = 1.0 if rng.random() < ACTIVATORS else -1.0
    return Edge(f"G{regulator}", sign * (1 + 4 * float(rng.random())))


def _with_loops(
    network: Network, n_regulators: int, self_loops: float, cycles: int, rng: np.random.Generator
) -> Network:
    """Self-loops and back edges on kinetics whose h comes from the acyclic network."""
    from agentkit_gene.simulation.model import build_model

    genes = list(build_model(network).network.genes)
    level = build_model(network).scale
    for i, gene in enumerate(genes):
        if rng.random() < self_loops:
            loop = replace(_edge(i, rng), half=float(level[i]))
            genes[i] = replace(gene, edges=(*gene.edges, loop))
    for _ in range(cycles if n_regulators > 1 else 0):
        late = 1 + int(rng.random() * (n_regulators - 1))
        early = int(rng.random() * late)
        if f"G{late}" not in set(genes[early].regulators()):
            back = replace(_edge(late, rng), half=float(level[late]))
            genes[early] = replace(genes[early], edges=(*genes[early].edges, back))
    return replace(network, genes=tuple(genes), kinetics="generated; h frozen from the network without loops")
