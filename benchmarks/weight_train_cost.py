"""CPU time of a training step of each method against plain LoRA, and of SAM against a peer's SAM.

    python benchmarks/weight_train_cost.py [--rounds 7]

MiniLM, six linear layers of the top two blocks, rank 8, 32 addresses a step, one thread, all methods on the same
batch in turns. Peer: pip install --no-deps pytorch_optimizer==4.1.0.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

import torch
from torch.nn import functional
from weight_common import interleaved, ratio, verdict

from agentkit import Unit
from agentkit_weight.adapters import Adapter
from agentkit_weight.branches import PerturbContext
from agentkit_weight.methods import Method, StepState, make_method
from agentkit_weight.params import Asam, Awp, Ggpo, Mgpo, Sam
from agentkit_weight.task import Task
from agentkit_weight.training import Cost, Head, _passes


class Bench:
    """The targets of the demo, loaded through their plugins."""

    device, workdir, conditions, cancelled, batch = "cpu", None, None, False, None

    def target(self, uri: str) -> Any:
        """Load by URI."""
        from agentkit.plugins import installed_plugins

        loader, rest = installed_plugins().loader(uri)
        return loader.load(rest, "cpu")


class Stepper:
    """One method with its own adapter, head and optimizer."""

    def __init__(self, task: Task, batch: Any, method: Method) -> None:
        self.task, self.batch, self.method = task, batch, method
        unit = Unit(index=0, seed=1)
        generator = unit.torch_generator("init")
        self.adapter = Adapter.fresh(task.sites, 8, 16, generator)
        self.head = Head.fresh(len(task.tags), task.width, generator)
        parameters = [*self.adapter.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=2e-3, fused=True)
        self.state = StepState(self.adapter, task.sites, self.optimizer, unit.torch_generator("perturb"))

    def __call__(self) -> None:
        """One step."""
        with PerturbContext(self.task.sites) as context:
            self.state.pass_ = _passes(
                self.task.encoder, context, self.batch, self.adapter, self.head, Cost(), "float32"
            )
            self.method.step(self.state)
            self.optimizer.step()


class PeerSam:
    """pytorch_optimizer's SAM around AdamW on the same adapter and head, with our branches as the model."""

    def __init__(self, task: Task, batch: Any, sam: Any) -> None:
        self.inner = Stepper(task, batch, make_method("lora", Ggpo(), Mgpo(), Sam(), Asam(), Awp()))
        parameters = [*self.inner.adapter.parameters(), *self.inner.head.parameters()]
        self.optimizer = sam(parameters, torch.optim.AdamW, rho=0.05, lr=2e-3, fused=True)

    def __call__(self) -> None:
        """One step."""
        inner = self.inner
        with PerturbContext(inner.task.sites) as context:

            def closure() -> torch.Tensor:
                self.optimizer.zero_grad()
                context.put("lora", inner.adapter.branches())
                logits = inner.head(inner.batch.words(inner.task.encoder(inner.batch)))
                loss = functional.cross_entropy(logits, inner.batch.labels)
                loss.backward()
                return loss

            closure()
            self.optimizer.step(closure)


def main() -> None:
    """Print every method's ratio; exit code 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    from agentkit_weight.params import LoraParams

    task = Task(LoraParams(), Bench())  # type: ignore[arg-type]
    batch = task.rows(task.encoder).take(range(64)).batch(range(32))

    def method(name: str, **blocks: Any) -> Stepper:
        values = {"ggpo": Ggpo(), "mgpo": Mgpo(), "sam": Sam(), "asam": Asam(), "awp": Awp()} | blocks
        return Stepper(task, batch, make_method(name, **values))

    calls: dict[str, Any] = {
        "lora": method("lora"),
        "mgpo": method("mgpo"),
        "ggpo rank 1": method("ggpo"),
        "ggpo dense": method("ggpo", ggpo=Ggpo(noise_rank=0)),
        "sam": method("sam"),
        "asam": method("asam"),
        "awp_lora": method("awp_lora"),
    }
    try:
        from pytorch_optimizer import SAM

        calls["sam of pytorch_optimizer"] = PeerSam(task, batch, SAM)
    except ImportError:
        print("no peer: pip install --no-deps pytorch_optimizer==4.1.0", file=sys.stderr)
    times = interleaved(calls, rounds)
    print(
        f"batch of 32 strings padded to {batch.keep.shape[1]} tokens; median over {rounds} rounds of the ratio to lora"
    )
    for name, seconds in times.items():
        print(f"{name:28s} {1e3 * statistics.median(seconds):8.1f} ms   {ratio(seconds, times['lora']):6.3f}")
    good = [
        verdict("mgpo / lora", ratio(times["mgpo"], times["lora"]), 1.15),
        verdict("ggpo rank 1 / lora", ratio(times["ggpo rank 1"], times["lora"]), 1.25),
    ]
    if "sam of pytorch_optimizer" in times:
        good.append(
            verdict(
                "sam / sam of pytorch_optimizer", ratio(times["sam"], times["sam of pytorch_optimizer"]), 1.05
            )
        )
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
