"""Langevin updates per CPU second: a 101-condition knock-out screen, and the wild type alone, against sergio-rs.

    python benchmarks/gene_speed.py [--genes 100] [--repeats 3]

Peer: pip install sergio-rs==0.2.3 (GPL-3; it needs polars). One process, one thread, interleaved, median of the
repeats, CPU time. An update is one gene in one cell for one step of 0.01, Euler-Maruyama with a clamp on both sides, 9
cell types, the same edges and half responses; sergio-rs draws its own master rates: the same size of work, not the
same numbers. It runs (safety + scale x cells) steps; its knock-outs are not comparable (gene_knockout.py), so its
time a condition is that of its wild type. The bars: 6 times with noise of their own for every condition, 15 times with
common random numbers, 1.5 times for the wild type alone, always recomputing every gene; "descendants only" is how the
tool runs and is shown apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, Any

import torch

from agentkit_gene.simulation.engine import Plan, simulate
from agentkit_gene.simulation.generator import scale_free
from agentkit_gene.simulation.model import Model, build_model
from agentkit_gene.simulation.perturbation import Effect, parse_perturbation

if TYPE_CHECKING:
    from collections.abc import Callable

DT, TYPES, CELLS = 0.01, 9, 320


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    before = time.process_time()
    work()
    return time.process_time() - before


def plan(steps: int, *, shared: bool) -> Plan:
    """`steps` Euler steps of 320 cells in each of 9 types."""
    return Plan("cle", DT, steps * DT, CELLS, tuple(range(TYPES)), euler=True, shared=shared)


def sergio(model: Model, cells: int) -> tuple[Callable[[], object], int]:
    """(a wild-type run of sergio-rs, its number of updates)."""
    import sergio_rs

    grn = sergio_rs.GRN()
    genes: dict[str, Any] = {g.name: sergio_rs.Gene(g.name, g.decay) for g in model.network.genes}
    for gene in model.network.genes:
        for e in gene.edges:
            grn.add_interaction(genes[e.regulator], genes[gene.name], e.strength, e.half, int(e.hill))
    grn.set_mrs()
    rates = sergio_rs.MrProfile.from_random(grn, TYPES, (0.2, 0.5), (0.7, 1.0), 1)
    simulation = sergio_rs.Sim(grn, cells, 0, 15, DT, 1, 7)
    return lambda: simulation.simulate(rates), 15 * cells * TYPES * len(genes)


def main() -> None:
    """Print millions of updates per CPU second and the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--genes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = build_model(scale_free(args.genes, 3, types=TYPES))
    effects = model.effects([parse_perturbation(f"KO:{n}") for n in model.network.names])
    full, few, wild = model.program(effects, everything=True), model.program(effects), model.program([])
    alone = [model.program([], base=e) for e in [("baseline", Effect()), *effects]]
    columns = CELLS * TYPES
    every = full.n_rows * columns
    peer, peer_updates = sergio(model, 1000)
    jobs: dict[str, tuple[Callable[[], object], int]] = {
        "sergio-rs 0.2.3, wild type": (peer, peer_updates),
        "screen, own noise": (
            lambda: [simulate(model, p, plan(40, shared=False), 1) for p in alone],
            40 * every,
        ),
        "screen, common noise": (lambda: simulate(model, full, plan(40, shared=True), 1), 40 * every),
        "wild type": (
            lambda: simulate(model, wild, plan(1500, shared=True), 1),
            1500 * wild.n_rows * columns,
        ),
        "screen, descendants only": (lambda: simulate(model, few, plan(200, shared=True), 1), 200 * every),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for name, (work, _) in jobs.items():
        work() if name != "sergio-rs 0.2.3, wild type" else None
    for _ in range(args.repeats):
        for name, (work, _) in jobs.items():
            times[name].append(cpu_seconds(work))
    rate = {name: jobs[name][1] / statistics.median(t) / 1e6 for name, t in times.items()}
    base = rate["sergio-rs 0.2.3, wild type"]
    print(
        f"{args.genes} genes, {TYPES} types, {len(effects) + 1} conditions, {few.n_rows} of {full.n_rows} rows reachable"
    )
    for name, value in rate.items():
        note = "  (all conditions' genes counted, most of them copied)" if "descendants" in name else ""
        print(f"{name:28s} {value:9.1f} M updates/CPU-s   {value / base:7.2f} x{note}")
    print("bars: own noise 6 x, common noise 15 x, wild type 1.5 x")


if __name__ == "__main__":
    main()
