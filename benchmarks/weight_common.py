"""What the weight benchmarks share: MiniLM, a batch, a clock of one thread, the published loop in our words."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from agentkit_weight.branches import PerturbContext
from agentkit_weight.sites import find_sites, weight_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn

    from agentkit_weight.branches import Branch

VOCABULARY = 30522


def minilm() -> Any:
    """MiniLM-L6: 6 blocks, 36 linear matrices, 10.6 million weights in them."""
    from agentkit_attention.targets import minilm as loader

    return loader.load("", "cpu").model


def small_encoder(layers: int = 2) -> Any:
    """A random BERT of MiniLM's width with few blocks."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=384, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=1536
    )
    return BertModel(config, add_pooling_layer=False).eval().requires_grad_(False)


class BenchTask:
    """Cross-entropy of a fixed head on the mean hidden state; also a `zo.Objective`."""

    def __init__(self, model: nn.Module, rows: int = 16, tokens: int = 64) -> None:
        self.model = model
        self.sites = find_sites(model)
        generator = torch.Generator().manual_seed(0)
        self.ids = torch.randint(1000, VOCABULARY, (rows, tokens), generator=generator)
        self.mask = torch.ones(rows, 1, tokens, tokens, dtype=torch.bool)
        self.labels = torch.randint(0, 5, (rows,), generator=generator)
        self.head = torch.randn(5, 384, generator=generator) * 0.1
        self._bound: dict[str, Tensor] = {}

    def loss(self, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """The loss, with other parameters by name where given."""
        arguments = {"input_ids": self.ids, "attention_mask": self.mask}
        if weights:
            out = torch.func.functional_call(self.model, dict(weights), args=(), kwargs=arguments)
        else:
            out = self.model(**arguments)
        return functional.cross_entropy(out.last_hidden_state.mean(1) @ self.head.T, self.labels)

    def matrices(self) -> dict[str, Tensor]:
        """The sites' matrices by name."""
        return {name: weight_of(site) for name, site in self.sites.items()}

    def bind(self, weights: Mapping[str, Tensor]) -> None:
        """Evaluate on these matrices."""
        self._bound = {f"{name}.weight": w for name, w in weights.items()}

    def value(self, step: int, worker: int, branches: Mapping[str, Branch]) -> tuple[Tensor, int]:
        """The loss with branches."""
        with PerturbContext(self.sites) as context:
            context.put("probe", branches)
            return self.loss(self._bound), len(self.labels)


@torch.no_grad()
def published_step(
    parameters: Sequence[Tensor], loss: Callable[[], Tensor], eps: float, lr: float, seed: int
) -> float:
    """One step of the published loop (MeZO, `large_models/trainer.py`), in our words.

    Normal noise is drawn anew from the seed four times; each pass makes new tensors for the weights, and the
    update carries the weight-decay term, which is zero here, as it is there by default.
    """

    def noise(p: Tensor) -> Tensor:
        return torch.normal(mean=0.0, std=1.0, size=p.shape, dtype=p.dtype)

    def shift(factor: float) -> None:
        torch.manual_seed(seed)
        for p in parameters:
            p.data = p.data + factor * noise(p) * eps

    shift(1)
    plus = float(loss())
    shift(-2)
    minus = float(loss())
    shift(1)
    gradient = (plus - minus) / (2 * eps)
    torch.manual_seed(seed)
    for p in parameters:
        p.data = p.data - lr * (gradient * noise(p) + 0.0 * p.data)
    return gradient


def cpu_seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of this thread for one call."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def interleaved(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every call in every round, taken in turns after one warm-up each."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(cpu_seconds(call))
    return times


def least(times: Sequence[float]) -> float:
    """The shortest: other work on the machine only adds."""
    return min(times)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over rounds of ours / theirs: both sides of a round saw the same machine."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def verdict(name: str, value: float, bar: float, unit: str = "") -> bool:
    """Print one line: figure, bar, met or not."""
    met = value <= bar
    print(f"{name:58s} {value:8.3f}{unit}   bar {bar:g}{unit}   {'met' if met else 'NOT MET'}")
    return met
