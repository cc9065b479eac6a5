"""Peak resident memory of a zeroth-order step against a plain forward pass, each in a process of its own.

    python benchmarks/weight_zo_memory.py

Growth is the peak during two calls above what was resident when the model, and for ours its replica, were loaded.
Bar: ours at most 1.05 of the growth of inference. `mezo` is shown when it is installed.
"""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import torch
from weight_common import BenchTask, minilm, published_step, verdict

from agentkit_weight import zo

KINDS = (
    "inference",
    "ours",
    "dense",
    "published, 36 matrices",
    "published, all weights",
    "mezo, 36 matrices",
)
REPEATS = 2


def status(field: str) -> int:
    """A memory field of this process, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(field)


@torch.no_grad()
def child(kind: str, queue: Any) -> None:
    """Load, note what is resident, run two calls, report the growth of the peak and the replica's size."""
    torch.set_num_threads(1)
    task = BenchTask(minilm())
    for parameter in task.model.parameters():
        parameter.data = (
            parameter.data.clone()
        )  # weights are mapped from a file: read them in before measuring
    held, call = 0, task.loss
    if kind in ("ours", "dense"):
        rank = 1 if kind == "ours" else 0
        worker = zo.ZoWorker(task, zo.make_spec(task, run_seed=1, steps=10, rank=rank, lr=1e-5))
        held = worker.replica.nbytes
        steps = iter(range(10))

        def call() -> Any:
            worker.apply([worker.probe(next(steps)).record])

    elif kind.startswith("published"):
        modules = dict(task.model.named_modules())
        chosen = [modules[n].weight for n in task.sites]
        if "all" in kind:
            chosen = [p for n, p in task.model.named_parameters() if "pooler" not in n]

        def call() -> Any:
            published_step(chosen, task.loss, 1e-3, 1e-5, 1)

    elif kind.startswith("mezo"):
        try:
            import mezo
        except ImportError:
            queue.put(None)
            return
        matrices = list(task.matrices().values())

        def call() -> Any:
            mezo.update(task.model, None, lambda m, i: task.loss(), 1e-3, 1e-5, 1, lambda m: matrices)

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    start = status("VmRSS")
    for _ in range(2):
        call()
    queue.put((status("VmHWM") - start, held))


def main() -> None:
    """One child per kind and repeat; exit code 1 when the bar is missed."""
    spawn = multiprocessing.get_context("spawn")
    growth: dict[str, int] = {}
    for kind in KINDS:
        found = []
        for _ in range(REPEATS):
            queue = spawn.Queue()
            process = spawn.Process(target=child, args=(kind, queue))
            process.start()
            found.append(queue.get())
            process.join()
        if found[0] is None:
            print(f"{kind:28s} not installed: pip install --no-deps mezo==0.0.1")
            continue
        growth[kind] = min(g for g, _ in found)
        share = growth[kind] / growth["inference"]
        held = f"   loaded replica {found[0][1] / 2**20:.1f} MiB" if found[0][1] else ""
        print(f"{kind:28s} peak growth {growth[kind] / 2**20:8.1f} MiB   {share:6.2f} of inference{held}")
    good = verdict("ours / inference, over the loaded replica", growth["ours"] / growth["inference"], 1.05)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
