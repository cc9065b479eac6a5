"""Tools of all four plugins on the CPU and on a GPU of this machine: seconds, device memory, largest difference.

    make bench-gpu          or          python benchmarks/gpu.py [--units 4] [--device cuda:0]

Each call runs in this process with its target loaded and warmed up by one unit on each device; both devices get the same
units, so every random draw is the same (draws are made on the CPU). The difference is over all conditions, metrics and
units, relative to the largest value of that metric; it is one of arithmetic alone, and printed, not judged: a share such
as an accuracy moves by whole items. Exits 0 with a line where there is no GPU.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import torch

from agentkit.plugins import installed_plugins
from agentkit.testing import run_tool
from agentkit.types import Unit

if TYPE_CHECKING:
    from agentkit import Measurements

CALLS: dict[str, dict[str, Any]] = {
    "attention.perturb_heads": {"sites": "L*.H*", "n": 4, "candidates": 16},
    "attention.guide": {"n": 64, "steps": 20, "features": None, "random_k": 6},
    "noise.text": {"strengths": [0.1, 0.2, 0.4], "items": 64},
    "noise.certify": {"radii": [0.25], "items": 64},
    "noise.attack": {"eps": [0.1], "items": 256, "steps": 20},
    "gene.screen": {
        "target": "grn:scalefree?genes=400&seed=3",
        "genes": "regulators",
        "readout": "G50",
        "cells": 64,
    },
    "weight.finetune": {"methods": ["lora", "ggpo"], "train_n": 256, "test_n": 128, "epochs": 1},
}


def main() -> None:
    """Print one row a tool."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", type=int, default=4)
    parser.add_argument("--device", default="cuda:0")
    args = parser.parse_args()
    if args.device != "cpu" and not torch.cuda.is_available():
        print("no CUDA device is visible here: nothing was measured")
        return
    name = torch.cuda.get_device_name(args.device) if args.device != "cpu" else "the CPU again"
    print(
        f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}, {torch.get_num_threads()} CPU threads"
    )
    print(f"{'tool':<26}{'CPU s':>9}{'GPU s':>9}{'ratio':>8}{'peak MiB':>10}  largest relative difference")
    units = [Unit(index=i, seed=7000 + i) for i in range(args.units)]
    for tool, params in CALLS.items():
        slow, on_cpu = timed(tool, params, units, "cpu")
        if args.device != "cpu":
            torch.cuda.reset_peak_memory_stats(args.device)
        fast, on_gpu = timed(tool, params, units, args.device)
        peak = torch.cuda.max_memory_allocated(args.device) / 2**20 if args.device != "cpu" else 0.0
        where, apart = difference(on_cpu, on_gpu)
        print(
            f"{tool:<26}{slow:>9.2f}{fast:>9.2f}{slow / fast:>8.1f}{peak:>10.0f}  {apart:.1e} ({where})",
            flush=True,
        )


def timed(tool: str, params: dict[str, Any], units: list[Unit], device: str) -> tuple[float, Measurements]:
    """(seconds of one call on all units after a call on the first, its measurements)."""
    found = installed_plugins().tool(tool)
    run_tool(found, params, units[:1], device=device)
    begin = time.perf_counter()
    table = run_tool(found, params, units, device=device)
    return time.perf_counter() - begin, table


def difference(left: Measurements, right: Measurements) -> tuple[str, float]:
    """(metric, largest difference relative to the metric's largest value)."""
    worst = ("none", 0.0)
    for metric in left.metrics:
        a = {r[:2]: r.value for r in left.rows() if r.metric == metric}
        b = {r[:2]: r.value for r in right.rows() if r.metric == metric}
        if a.keys() != b.keys():
            raise SystemExit(f"{metric}: other units or conditions on the GPU")
        scale = max(map(abs, a.values())) or 1.0
        worst = max(worst, (metric, max(abs(a[k] - b[k]) for k in a) / scale), key=lambda pair: pair[1])
    return worst


if __name__ == "__main__":
    main()
