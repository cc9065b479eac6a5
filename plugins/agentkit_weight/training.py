"""The training loop: an adapter and a head on the user's frozen model, one method, one kind of input noise."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from agentkit_weight.adapters import Adapter
from agentkit_weight.branches import PerturbContext
from agentkit_weight.inputs import InputNoise
from agentkit_weight.methods import Method, Plain, StepState
from agentkit_weight.tagging import scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor, nn

    from agentkit import Unit
    from agentkit_weight.adapters import Factors
    from agentkit_weight.branches import Branch
    from agentkit_weight.encoder import Encoder, Rows
    from agentkit_weight.tagging import Batch

EVAL_ROWS = 64


@dataclass
class Head:
    """Linear classifier over a word's first token: weight (c, d) and bias (c,)."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def fresh(cls, classes: int, width: int, generator: torch.Generator, device: str = "cpu") -> Head:
        """Normal weight with variance 1/d, zero bias; drawn on the CPU, so it is the same on every device."""
        weight = (torch.randn(classes, width, generator=generator) / width**0.5).to(device)
        return cls(weight.requires_grad_(True), torch.zeros(classes, device=device).requires_grad_(True))

    def __call__(self, words: Tensor) -> Tensor:
        """Logits (w, c) from hidden states (w, d)."""
        return functional.linear(words.to(self.weight.dtype), self.weight, self.bias)

    def parameters(self) -> list[Tensor]:
        """Weight and bias."""
        return [self.weight, self.bias]

    def tensors(self) -> dict[str, Tensor]:
        """Weight and bias by name."""
        return {"weight": self.weight.detach(), "bias": self.bias.detach()}

    def detached(self) -> Head:
        """A copy that no optimizer will change."""
        return Head(self.weight.detach().clone(), self.bias.detach().clone())


@dataclass
class Cost:
    """CPU seconds of one training, by what they were spent on, and its passes."""

    step_s: float = 0.0
    forward_s: float = 0.0
    backward_s: float = 0.0
    optimizer_s: float = 0.0
    passes: int = 0
    steps: int = 0

    @property
    def perturb_s(self) -> float:
        """What the method spent beside its forward and backward passes."""
        return self.step_s - self.forward_s - self.backward_s

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Add the thread time of the block to `part`."""
        start = time.thread_time()
        try:
            yield
        finally:
            setattr(self, part, getattr(self, part) + time.thread_time() - start)


@dataclass
class Trained:
    """What a training leaves: factors (None for the head alone), head, a curve row per step, and its cost."""

    adapter: Adapter | None
    head: Head
    curve: list[tuple[int, float, float, float]] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True)
class Recipe:
    """Sizes and rates of a training."""

    epochs: int
    batch: int
    lr: float
    r: int
    alpha: float
    classes: int
    width: int
    by_passes: bool = False
    dtype: str = "float32"


def train(
    unit: Unit,
    encoder: Encoder,
    sites: Mapping[str, nn.Module],
    rows: Rows,
    recipe: Recipe,
    method: Method | None = None,
    noise: InputNoise | None = None,
) -> Trained:
    """Train head and adapter; equal unit, equal initial values, data order and noise for every method.

    Args:
        unit: gives all random numbers.
        encoder: the frozen model.
        sites: layers that get an adapter; none trains the head alone.
        rows: training strings.
        recipe: sizes and rates. With `by_passes` a method of two passes takes half the steps.
        method: how a step is taken; plain LoRA unless said.
        noise: what is done to the inputs while training.
    """
    method, noise = method or Plain(), noise or InputNoise()
    generator = unit.torch_generator("init")
    head = Head.fresh(recipe.classes, recipe.width, generator, encoder.device)
    adapter = Adapter.fresh(sites, recipe.r, recipe.alpha, generator)
    parameters = [*adapter.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, fused=True)
    order = _data_order(unit, len(rows), recipe, method.passes)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=recipe.lr, total_steps=len(order) + 1)
    state = StepState(adapter, sites, optimizer, unit.torch_generator("perturb"))
    cost, curve = Cost(steps=len(order)), []
    with PerturbContext(sites) as context, noise.active(unit, encoder):
        for step, indices in enumerate(order):
            batch = noise.on_batch(rows.batch(indices))
            state.epoch = step * recipe.batch // len(rows)
            state.pass_ = _passes(encoder, context, batch, adapter, head, cost, recipe.dtype)
            with cost.time("step_s"):
                loss = method.step(state)
            if step == 0:
                context.require_hits()
            curve.append((step, float(loss), _gradient_norm(parameters), state.radius))
            with cost.time("optimizer_s"):
                optimizer.step()
                schedule.step()
    return Trained(adapter.detached() if sites else None, head.detached(), curve, cost)


@torch.no_grad()
def predict(
    encoder: Encoder,
    sites: Mapping[str, nn.Module],
    rows: Rows,
    trained: Trained,
    extra: Mapping[str, Branch] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (w, c), labels (w,) and string index (w,) of all words, short strings first."""
    logits, labels, owners = [], [], []
    with PerturbContext(sites) as context:
        if trained.adapter is not None:
            context.put("lora", trained.adapter.branches())
        if extra:
            context.put("extra", extra)
        for indices, batch in rows.batches(EVAL_ROWS):
            logits.append(trained.head(batch.words(encoder(batch))).float())
            labels.append(batch.labels)
            owners.append(torch.tensor(indices, device=batch.owner.device)[batch.owner])
    return torch.cat(logits), torch.cat(labels), torch.cat(owners)


def evaluate(
    encoder: Encoder,
    sites: Mapping[str, nn.Module],
    rows: Rows,
    trained: Trained,
    extra: Mapping[str, Branch] | None = None,
) -> dict[str, float]:
    """`accuracy`, `macro_f1`, `exact` and mean cross-entropy `loss` on these strings."""
    logits, labels, owners = predict(encoder, sites, rows, trained, extra)
    found = scores(
        logits.argmax(1).cpu().numpy(), labels.cpu().numpy(), owners.cpu().numpy(), logits.shape[1]
    )
    return {**found, "loss": float(functional.cross_entropy(logits, labels))}


def _data_order(unit: Unit, n: int, recipe: Recipe, passes: int) -> list[list[int]]:
    """Indices of every step: a fresh permutation per epoch, the last short batch included."""
    rng = unit.rng("order")
    steps = [
        [int(i) for i in order[top : top + recipe.batch]]
        for order in (rng.permutation(n) for _ in range(recipe.epochs))
        for top in range(0, n, recipe.batch)
    ]
    return steps[: max(1, len(steps) // passes)] if recipe.by_passes else steps


def _passes(
    encoder: Encoder,
    context: PerturbContext,
    batch: Batch,
    adapter: Adapter,
    head: Head,
    cost: Cost,
    dtype: str,
) -> Callable[..., Tensor]:
    kind = encoder.device.partition(":")[0]

    def one_pass(noise: Mapping[str, Branch], offset: Factors | None = None) -> Tensor:
        with cost.time("forward_s"):
            if adapter.factors:
                context.put("lora", adapter.branches(offset))
            context.put("noise", noise)
            with torch.autocast(kind, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
                hidden = encoder(batch)
            loss = functional.cross_entropy(head(batch.words(hidden)), batch.labels)
        with cost.time("backward_s"):
            loss.backward()  # type: ignore[no-untyped-call]
        cost.passes += 1
        return loss.detach()

    return one_pass


def _gradient_norm(parameters: list[Tensor]) -> float:
    squares = [float(p.grad.square().sum()) for p in parameters if p.grad is not None]
    return float(np.sqrt(sum(squares)))
