"""Pickers on simulated screens: does the default find at least twice as many hits as random choice?

    python benchmarks/gene_sim_loop.py [--networks 10] [--figures FOLDER]

`screen:sim`, 2000 genes, 5 rounds of 32; every unit is a network of its own, so the mean is over networks of the
generator. Prior knowledge is true to six tenths, measurement noise 0.3. Bar: prior+ens finds 2 times random's share of the
hits (mean over networks). `prior` (no feedback) and `trees` (no prior) are reported beside it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from agentkit import Unit, derive_seed
from agentkit.plugins import load_plugins
from agentkit.report.exploration import t_interval
from agentkit.workers.artifacts import ArtifactStore
from agentkit_gene.screens.tools import loop

TARGET = "screen:sim?genes=2000&seed=unit"
PICKERS = ["prior+ens", "prior", "trees"]
BAR = 2.0


class Bench:
    """A context that loads this plugin's targets, keeps artifacts in a folder, and is never cancelled."""

    device, batch, cancelled, conditions = "cpu", None, False, None

    def __init__(self, folder: Path | None) -> None:
        self._plugins = load_plugins(modules=["agentkit_gene"], allow=["agentkit_gene"])
        self._folder = folder

    def target(self, uri: str) -> object:
        """What stands behind a URI of this plugin."""
        loader, rest = self._plugins.loader(uri)
        return loader.load(rest, "cpu")

    def artifact(self, name: str, value: object) -> str:
        """Keep it in the folder, if there is one."""
        if self._folder is None:
            return ""
        stored = ArtifactStore(self._folder).put(name, value)
        print(f"# {name}: {self._folder / stored.file}")
        return stored.sha256

    def progress(self, done: int, total: int) -> None:
        """Nobody watches."""

    def wants(self, condition: str) -> bool:
        """All of them."""
        return True


def main() -> None:
    """Print each picker's share of the hits found, and its ratio to random."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--figures", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    units = [Unit(index=i, seed=derive_seed("gene sim loop", i)) for i in range(args.networks)]
    params = loop.parse({"target": TARGET, "pickers": PICKERS, "rounds": 5, "batch": 32})
    began = time.process_time()
    table = loop(params, units, Bench(args.figures))  # type: ignore[arg-type]  # it is a context
    seconds = time.process_time() - began
    chance = table.column("hit_ratio", "baseline")
    print(f"{len(units)} networks of 2000 genes, {seconds:.0f} CPU-s; random {chance.mean():.3f} of all hits")
    for name in PICKERS:
        found = table.column("hit_ratio", name)
        mean, low, high = t_interval(found - chance)
        wins = int((found > chance).sum())
        print(
            f"{name:10s} {found.mean():.3f} (sd {found.std(ddof=1):.3f}), {found.mean() / chance.mean():.1f} x random, "
            f"minus random {mean:+.3f} [{low:+.3f}, {high:+.3f}], better on {wins} of {len(units)}"
        )
    ratio = float(table.column("hit_ratio", "prior+ens").mean() / chance.mean())
    print(f"bar: {ratio:.2f} >= {BAR:g}: {'met' if ratio >= BAR else 'MISSED'}")


if __name__ == "__main__":
    main()
