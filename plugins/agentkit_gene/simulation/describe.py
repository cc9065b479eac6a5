"""A network in at most 2 kB of text, for a planner that has to choose genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentkit_gene.simulation.target import NetworkTarget

LIMIT = 2000


def describe(target: NetworkTarget) -> str:
    """Size, signs, cycles, top regulators, genes with mean below 1, steady state, source."""
    network, model = target.network, target.model()
    signs = [s for _, _, s in network.edges]
    hubs = sorted(network.regulators, key=lambda n: (-len(network.targets[n]), n))[:12]
    faint = [n for n, m in zip(network.names, model.wild_type.mean(axis=1), strict=True) if m < 1]
    lines = [
        f"network {network.name}: {len(network.genes)} genes, {len(network.types)} cell types, {len(signs)} edges "
        f"({signs.count(1)} up, {signs.count(-1)} down, {signs.count(0)} either way), "
        + ("with cycles" if network.cyclic else "no cycle"),
        "regulators by number of targets: " + ", ".join(f"{n} ({len(network.targets[n])})" for n in hubs),
        f"wild-type mean below 1 in {len(faint)} genes: " + (", ".join(faint[:12]) or "none"),
        "wild type: "
        + ("stable steady state" if model.settled else "oscillates (use leap or cle, not ode or lna)"),
        f"source: {network.source or 'not given'}",
        f"kinetics: {network.kinetics or 'not given'}",
    ]
    if len(network.genes) <= 40:
        lines.insert(1, "genes: " + ", ".join(network.names))
    text = "\n".join(lines)
    return text if len(text.encode()) <= LIMIT else text.encode()[: LIMIT - 3].decode(errors="ignore") + "…"
