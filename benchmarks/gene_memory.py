"""Peak memory of knock-out screens above what the imports take: 100 and 1200 genes, moments kept, cells streamed.

    python benchmarks/gene_memory.py [--genes 100 1200] [--cells 300]

Each screen runs in a process of its own (peak resident set size counts from the start of a process). 9 types. The
bars: below 64 MB for 100 genes, below 1 GB for 1200.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

CODE = """
import resource, sys, time, torch
torch.set_num_threads(1)
from agentkit_gene.simulation.engine import Plan
from agentkit_gene.simulation.experiment import Experiment
from agentkit_gene.simulation.generator import scale_free
from agentkit_gene.simulation.model import build_model
from agentkit_gene.simulation.perturbation import parse_all

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

genes, cells, burn_in = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
small = build_model(scale_free(10, 1, types=9))
for _ in Experiment(small, Plan("leap", 0.2, 1.0, 64, tuple(range(9))), parse_all(["KO:G0"]), [0], small.thresholds()).run(1):
    pass
import scipy.special, scipy.stats
before = peak()
began = time.process_time()
model = build_model(scale_free(genes, 3, types=9))
names = ["KO:" + n for n in model.network.names]
experiment = Experiment(model, Plan("leap", 0.2, burn_in, cells, tuple(range(9))), parse_all(names), [5], model.thresholds())
n = 0
for reader, name, view in experiment.run(1, distances=False):
    reader.metrics(view, ["level", "level_rel", "frac_on", "affected"])
    n += 1
print(f"{genes} genes, {n} conditions, {cells} cells x 9 types: peak {peak() - before:.0f} MB above {before:.0f} MB, "
      f"{time.process_time() - began:.0f} CPU-s (burn-in {burn_in:g})")
"""


def main() -> None:
    """Print the peak of each screen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--genes", type=int, nargs="*", default=[100, 1200])
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--burn-in", type=float, default=2.0, help="short: memory does not depend on it")
    args = parser.parse_args()
    for genes in args.genes:
        command = [sys.executable, "-c", CODE, str(genes), str(args.cells), str(args.burn_in)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    print("bars: 64 MB at 100 genes, 1024 MB at 1200")


if __name__ == "__main__":
    main()
