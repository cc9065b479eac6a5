"""One zeroth-order step: ours at rank 1 against `mezo` and the published loop, on the same 36 matrices of MiniLM.

    python benchmarks/weight_zo_step.py [--rounds 5]

Peer: pip install --no-deps --target PEERS mezo==0.0.1 (it imports torch alone), then PYTHONPATH=PEERS. One thread, CPU time of the thread, interleaved
rounds in one process; steps and forwards are shortest of the rounds, ratios are of those. Overhead is
(step - 2 forwards) / (2 forwards) and holds noise, branches and the update.
"""

from __future__ import annotations

import argparse
import copy
import sys
from importlib.util import find_spec
from typing import Any

import torch
from weight_common import BenchTask, interleaved, least, minilm, published_step, small_encoder, verdict

from agentkit_weight import zo

EPS, LR = 2**-10, 1e-5


class Ours:
    """Probe and apply, step after step."""

    def __init__(self, task: BenchTask) -> None:
        self.worker = zo.ZoWorker(task, zo.make_spec(task, run_seed=1, steps=10_000, eps=EPS, lr=LR))
        self.step = 0

    def __call__(self) -> None:
        """One step."""
        self.worker.apply([self.worker.probe(self.step).record])
        self.step += 1


def mezo_step(task: BenchTask, matrices: list[torch.Tensor]) -> Any:
    """A step of the `mezo` package on a private copy of the matrices."""
    import mezo

    def step() -> None:
        mezo.update(
            task.model,
            None,
            lambda model, inputs: task.loss(),
            EPS,
            LR,
            1,
            lambda model: matrices,
        )

    return step


def parameters_of(model: torch.nn.Module, task: BenchTask) -> list[torch.Tensor]:
    """The same 36 matrices in another copy of the model."""
    modules = dict(model.named_modules())
    return [modules[name].weight for name in task.sites]


@torch.no_grad()
def compare(rounds: int) -> bool:
    """The full case; returns whether all bars are met."""
    model = minilm()
    task = BenchTask(model)
    theirs = BenchTask(copy.deepcopy(model))  # peers write into their weights
    matrices = parameters_of(theirs.model, theirs)
    every = [p for n, p in theirs.model.named_parameters() if "pooler" not in n]
    calls = {
        "forward": task.loss,
        "ours": Ours(task),
        "published, 36 matrices": lambda: published_step(matrices, theirs.loss, EPS, LR, 1),
        "published, all weights": lambda: published_step(every, theirs.loss, EPS, LR, 1),
    }
    calls["mezo, 36 matrices"] = mezo_step(theirs, matrices)
    times = {name: least(t) for name, t in interleaved(calls, rounds).items()}
    weights = sum(m.numel() for m in matrices), sum(p.numel() for p in every)
    print(
        f"16 x 64 tokens; {len(matrices)} matrices with {weights[0]:,} weights; 'all weights' are {weights[1]:,}"
    )
    overhead = {}
    for name, seconds in times.items():
        overhead[name] = (seconds - 2 * times["forward"]) / (2 * times["forward"])
        note = "" if name == "forward" else f"   overhead {100 * overhead[name]:6.1f} %"
        print(f"{name:28s} {1e3 * seconds:8.1f} ms{note}")
    good = [verdict("overhead of ours, % of two forwards", 100 * overhead["ours"], 3.0)]
    good.append(
        verdict("step / published loop on the same 36", times["ours"] / times["published, 36 matrices"], 0.90)
    )
    good.append(
        verdict(
            "step / published loop, all weights (other set)",
            times["ours"] / times["published, all weights"],
            0.60,
        )
    )
    good.append(verdict("step / mezo on the same 36", times["ours"] / times["mezo, 36 matrices"], 0.75))
    good.append(
        verdict("overhead of ours / overhead of mezo", overhead["ours"] / overhead["mezo, 36 matrices"], 0.2)
    )
    return all(good)


@torch.no_grad()
def small_case(rounds: int) -> bool:
    """512 tokens, 2 blocks: noise and hooks weigh most."""
    task = BenchTask(small_encoder(), rows=8)
    times = {
        n: least(t) for n, t in interleaved({"forward": task.loss, "ours": Ours(task)}, 4 * rounds).items()
    }
    return verdict(
        "small case (512 tokens, 2 blocks): overhead, %", 50 * times["ours"] / times["forward"] - 100, 15.0
    )


@torch.no_grad()
def update_follows_probe() -> bool:
    """The direction that is added is the one that was probed, also for a 400 x 300 matrix: cosine 1."""
    worst = {}
    for shape in ((400, 300), (1200, 100)):
        weight = torch.zeros(shape)
        spec = zo.ZoSpec(3, ("w",), (shape,), "", steps=1)
        from agentkit_weight.replica import Record, Replica

        probe = spec.directions(0, 0, 0)["w"].dense()
        replica = Replica({"w": weight})
        replica.apply(spec, [Record(0, 0, 0, 64 | 128)])
        worst[shape] = cosine(probe, replica.weights["w"])
        print(
            f"cosine of update to probe at {shape[0]} x {shape[1]}: ours {worst[shape]:.4f}, "
            f"mezo {mezo_cosine(shape):.4f}"
        )
    return min(worst.values()) > 0.9999


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of all entries, summed in float64."""
    return float(torch.nn.functional.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0))


def mezo_cosine(shape: tuple[int, int]) -> float:
    """Cosine of what `mezo` adds in its update to what it probed with."""
    import mezo

    probed = torch.nn.Parameter(torch.zeros(shape))
    mezo.perturb_parameters([probed], 1.0, 5)
    model = torch.nn.Module()
    model.w = torch.nn.Parameter(torch.zeros(shape))
    mezo.reconstruct_updates(model, [5], [torch.tensor(-1.0)], [1.0], lambda m: [m.w])
    return cosine(probed, model.w)


def main() -> None:
    """All parts; exit code 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    if find_spec("mezo") is None:
        sys.exit("mezo is not installed, and the bars are against it: see the top of this file")
    torch.set_num_threads(1)
    results = [compare(rounds), small_case(rounds), update_follows_probe()]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
