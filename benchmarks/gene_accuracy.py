"""Mean and variance by expression stratum: `leap` and `cle` against the exact law, sergio-rs beside them.

    python benchmarks/gene_accuracy.py [--cells 64000]

Constitutive genes of mean 0.32 to 12 (the exact law is Poisson); strata below 1.5, from 1.5 to 5, above 5, never the
average alone. sergio-rs 0.2.3 (if installed) samples one trajectory a type; its rates are drawn, so each of its genes is
compared with its own rate. The bar: `leap` within 1 % in every stratum.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from agentkit_gene.simulation.engine import Plan, simulate
from agentkit_gene.simulation.model import build_model
from agentkit_gene.simulation.network import Gene, Network

MEANS = np.array([0.32, 0.6, 0.98, 1.21, 2.0, 3.0, 4.5, 6.0, 9.0, 12.0])
STRATA = (("below 1.5", 0.0, 1.5), ("1.5 to 5", 1.5, 5.0), ("above 5", 5.0, np.inf))
DECAY = 0.8


def ours(kernel: str, dt: float, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """(mean, variance) of each gene over its exact value, in the order of `MEANS`."""
    model = build_model(
        Network("flat", tuple(Gene(f"g{i}", DECAY, (m * DECAY,)) for i, m in enumerate(MEANS)))
    )
    program = model.program([])
    found = simulate(model, program, Plan(kernel, dt, 15 / DECAY, cells, (0,)), 11)
    level = found.level[program.baseline_rows(), 0].astype(np.float64)
    return level.mean(axis=1) / MEANS, level.var(axis=1) / MEANS


def report(name: str, mean: np.ndarray, variance: np.ndarray, true: np.ndarray) -> None:
    """One line a stratum: ratio to the exact mean and variance, genes pooled."""
    for label, low, high in STRATA:
        chosen = (true >= low) & (true < high)
        if chosen.any():
            print(
                f"{name:24s} {label:10s} mean {mean[chosen].mean():7.4f}   variance {variance[chosen].mean():7.4f}"
            )


def sergio() -> None:
    """sergio-rs on masters whose rates lie in each stratum; targets are needed for it to see a network."""
    import sergio_rs

    for label, low in (("below 1.5", 0.256), ("1.5 to 5", 2.4), ("above 5", 8.0)):
        grn = sergio_rs.GRN()
        genes = [sergio_rs.Gene(f"m{i}", DECAY) for i in range(20)]
        sink = sergio_rs.Gene("sink", DECAY)
        for g in genes:
            grn.add_interaction(g, sink, 1.0, 1.0, 2)
        grn.set_mrs()
        rates = sergio_rs.MrProfile.from_random(grn, 1, (low, low + 1e-5), (low + 2e-5, low + 3e-5), 1)
        frame = sergio_rs.Sim(grn, 4000, 4000, 15, 0.01, 1, 7).simulate(rates)
        rows = [np.array(r[1:], dtype=float) for r in frame.rows() if str(r[0]) != "sink"]
        true = low / DECAY
        mean = np.mean([r.mean() for r in rows]) / true
        variance = np.mean([r.var() for r in rows]) / true
        print(
            f"{'sergio-rs 0.2.3':24s} {label:10s} mean {mean:7.4f}   variance {variance:7.4f}   (mean {true:.2f})"
        )


def main() -> None:
    """Print every kernel's ratios by stratum."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=64_000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for dt in (0.05, 0.2, 0.4):
        report(f"leap, dt {dt}", *ours("leap", dt, args.cells), MEANS)
    for dt, cells in ((0.01, args.cells // 4), (0.1, args.cells)):
        report(f"cle, dt {dt}", *ours("cle", dt, cells), MEANS)
    try:
        sergio()
    except ImportError:
        print("sergio-rs is not installed: pip install sergio-rs==0.2.3")
    print(
        f"standard error of a mean ratio at mean 0.32: {1 / np.sqrt(0.32 * args.cells):.4f}; bar: leap within 0.01"
    )


if __name__ == "__main__":
    main()
