"""What common random numbers buy: variance of a knock-out's effect, and time, with and without them.

    python benchmarks/gene_crn.py [--units 8]

100 genes, 25 knock-outs, `leap` and `cle`, 32 cells a unit, every gene recomputed in both arms. The effect is the
change of mean log(1 + level) of each gene that the knock-out reaches. Bars: variance at least 10 times lower, speed
(Langevin) at least 1.5 times, and `leap` at least 1.2 times cheaper than `cle` for the same simulated time without
common noise.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from agentkit.seeds import derive_seed
from agentkit_gene.simulation.engine import Plan
from agentkit_gene.simulation.experiment import Experiment
from agentkit_gene.simulation.generator import scale_free
from agentkit_gene.simulation.model import Model, build_model
from agentkit_gene.simulation.perturbation import parse_all


def effects(model: Model, plan: Plan, names: list[str], units: int) -> tuple[np.ndarray, float]:
    """(units, knock-outs, genes) changes of mean log level, and CPU seconds."""
    experiment = Experiment(model, plan, parse_all(names), [0], model.thresholds(), everything=True)
    found = np.zeros((units, len(names), len(model.network.genes)))
    began = time.process_time()
    for u in range(units):
        runs = experiment.run(derive_seed("crn", u), distances=False)
        reader, _, view = next(runs)
        base = reader.log_means(view)
        for c, (_, _, changed) in enumerate(runs):
            found[u, c] = reader.log_means(changed) - base
    return found, time.process_time() - began


def level_limit(model: Model, names: list[str], cells: int = 256) -> tuple[float, float]:
    """How much smaller the variance of a cell's difference in `leap` is than with own noise, and how much it could be.

    Counts differ by whole molecules that are made and lost one by one, so their difference varies at least about as
    much as its mean (a Poisson number of molecules); no coupling that keeps both counts exact step by step does better.
    """
    plan = Plan("leap", 0.2, 18.75, cells, (0,))
    runs = Experiment(model, plan, parse_all(names), [0], model.thresholds(), everything=True).run(
        7, distances=False
    )
    reader, _, _ = next(runs)
    own = common = limit = 0.0
    for name, (_, _, view) in zip(names, runs, strict=True):
        out_of_reach = set(model.network.names) - set(model.network.descendants([name[3:]])) | {name[3:]}
        for gene, level in zip(view.genes, view.level[:, 0].astype(float), strict=True):
            if model.network.names[gene] in out_of_reach:
                continue
            base = reader.baseline[gene, 0].astype(float)
            own += base.var() + level.var()
            common += (level - base).var()
            limit += abs((level - base).mean())
    return own / common, own / limit


def main() -> None:
    """Print variance ratios (mean and median over reached genes) and the ratio of CPU times."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = build_model(scale_free(100, 3, types=1))
    network = model.network
    names = [f"KO:{n}" for n in network.names[:25]]
    reached = np.array(
        [[g in network.descendants([n[3:]]) and g != n[3:] for g in network.names] for n in names]
    )
    seconds: dict[str, list[float]] = {}
    for kernel, dt in (("leap", 0.2), ("cle", 0.01)):
        arms = [
            effects(model, Plan(kernel, dt, 18.75, 32, (0,), shared=shared), names, args.units)
            for shared in (False, True)
        ]
        seconds[kernel] = [time_taken for _, time_taken in arms]
        own, shared = (found.var(axis=0, ddof=1)[reached] for found, _ in arms)
        keep = shared > 0
        ratio = own[keep] / shared[keep]
        print(
            f"{kernel}: variance of the effect, own over common noise: total {own.sum() / shared.sum():.1f} x, mean "
            f"{ratio.mean():.1f} x, median {np.median(ratio):.1f} x over {keep.sum()} (knock-out, gene) pairs; "
            f"CPU time {arms[0][1] / arms[1][1]:.2f} x ({arms[0][1]:.1f} s against {arms[1][1]:.1f} s)"
        )
        outside = np.abs(
            arms[1][0][:, ~reached & ~np.array([[g == n[3:] for g in network.names] for n in names])]
        ).max()
        print(f"{kernel}: largest change of a gene out of reach, common noise: {outside}")
    ratios = [c / x for c, x in zip(seconds["cle"], seconds["leap"], strict=True)]
    print(
        f"leap against cle for the same simulated time: own noise {ratios[0]:.2f} x, common noise {ratios[1]:.2f} x cheaper"
    )

    reached_ratio, most = level_limit(model, names)
    print(f"leap, levels of single cells: {reached_ratio:.1f} x; whole molecules allow about {most:.1f} x")


if __name__ == "__main__":
    main()
