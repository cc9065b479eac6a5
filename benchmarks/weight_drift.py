"""A thousand probes without an update: how far the weights end up from where they began, per number format.

    python benchmarks/weight_drift.py [--probes 1000]

Ours adds branches to outputs and writes nothing: 0 bits by construction, checked here by hash. The published loop
adds, subtracts and adds noise in place, and each of the three rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import sys

import torch
from weight_common import published_step

from agentkit_weight import zo
from agentkit_weight.tiny import TinyObjective

EPS = 2**-10


def sha256(weights: dict[str, torch.Tensor]) -> str:
    """Hash of the bytes of all matrices."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def main() -> None:
    """One row per format; exit code 1 when one of our bits changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--probes", type=int, default=1000)
    probes = parser.parse_args().probes
    torch.set_num_threads(1)
    good = True
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        objective = TinyObjective(dtype=dtype)
        before = sha256(objective.matrices())
        worker = zo.ZoWorker(objective, zo.make_spec(objective, run_seed=1, steps=probes, eps=EPS))
        replica = worker.digest()
        for step in range(probes):
            worker.probe(step)
        ours = sha256(objective.matrices()) == before and worker.digest() == replica
        good &= ours
        matrices = [w.clone() for w in objective.matrices().values()]
        start = torch.cat([w.flatten().double() for w in matrices])
        for step in range(probes):
            published_step(matrices, lambda: torch.zeros(()), EPS, 0.0, step)
        end = torch.cat([w.flatten().double() for w in matrices])
        drift = float((end - start).norm() / start.norm())
        print(
            f"{dtype!s:16s} ours: {'0 bits changed' if ours else 'CHANGED'}   published loop: relative drift {drift:.2e}"
        )
    print(f"bar: 0 bits   {'met' if good else 'NOT MET'}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
