"""A 21 x 21 plane of losses: ours against `loss-landscapes` on the same network, time and peak memory.

    python benchmarks/weight_landscape.py [--rounds 3]

Peer: pip install --no-deps --target PEERS loss-landscapes==3.0.6, then PYTHONPATH=PEERS. Network: 256-512-512-10 without biases, 256 rows; filter-normalised
random plane on both sides. Time in one process in turns; memory in a process of each side's own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from weight_common import interleaved, ratio, verdict

from agentkit_weight.landscape import grid_losses, random_direction

GRID = 21


def network(width: int = 512) -> nn.Sequential:
    """Three linear layers, seeded."""
    torch.manual_seed(0)
    layers = (nn.Linear(256, width, bias=False), nn.Tanh(), nn.Linear(width, width, bias=False), nn.Tanh())
    return nn.Sequential(*layers, nn.Linear(width, 10, bias=False)).requires_grad_(False)


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(256, 256, generator=generator), torch.randint(0, 10, (256,), generator=generator)


def ours(net: nn.Sequential, grid: int = GRID) -> Any:
    """The plane by our kernel."""
    x, labels = rows()
    weights = {n: p.detach() for n, p in net.named_parameters()}
    generator = torch.Generator().manual_seed(2)
    axes = [random_direction(weights, generator) for _ in range(2)]
    at = [0.5 * (2 * i - grid + 1) / (grid - 1) for i in range(grid)]
    return grid_losses(
        weights,
        axes,
        at,
        lambda w: float(functional.cross_entropy(torch.func.functional_call(net, w, (x,)), labels)),
    )


def peer(net: nn.Sequential, grid: int = GRID) -> Any:
    """The plane by the peer; it writes into the weights, hence its own deep copy, as it advises."""
    import loss_landscapes
    from loss_landscapes.metrics import Loss

    x, labels = rows()
    with torch.no_grad():
        return loss_landscapes.random_plane(
            net,
            Loss(functional.cross_entropy, x, labels),
            1,
            grid,
            normalization="filter",
            deepcopy_model=True,
        )


def status(field: str) -> int:
    """A memory field of this process, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(field)


def child(name: str, queue: Any) -> None:
    """Growth of the peak while one side maps a plane of a wide network (18.9 million weights, 76 MB)."""
    torch.set_num_threads(1)
    net = network(4096)
    run = ours if name == "ours" else peer
    run(network(64), 3)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    start = status("VmRSS")
    run(net, 3)
    queue.put(status("VmHWM") - start)


def peak(name: str) -> int:
    """Peak growth in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    process = spawn.Process(target=child, args=(name, queue))
    process.start()
    grown: int = queue.get()
    process.join()
    return grown


def main() -> None:
    """Time and memory; exit code 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    net = network()
    losses = ours(net)
    print(f"ours: centre {losses[GRID // 2, GRID // 2]:.6f}, unperturbed {_plain(net):.6f}")
    if find_spec("loss_landscapes") is None:
        sys.exit("loss-landscapes is not installed, and the bars are against it: see the top of this file")
    times = interleaved({"ours": lambda: ours(net), "peer": lambda: peer(net)}, rounds)
    print(f"{GRID} x {GRID} points: ours {min(times['ours']):.2f} s, peer {min(times['peer']):.2f} s")
    good = [verdict("time: ours / loss-landscapes", ratio(times["ours"], times["peer"]), 1.0)]
    mine, theirs = peak("ours"), peak("peer")
    print(f"peak growth on 76 MB of weights: ours {mine / 2**20:.0f} MiB, peer {theirs / 2**20:.0f} MiB")
    good.append(verdict("memory: ours / loss-landscapes", mine / theirs, 1.0))
    sys.exit(0 if all(good) else 1)


def _plain(net: nn.Sequential) -> float:
    x, labels = rows()
    return float(functional.cross_entropy(net(x), labels))


if __name__ == "__main__":
    main()
