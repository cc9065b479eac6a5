"""Zeroth-order training of a tagging task: objectives, the loop, and the published loop as a yardstick."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from agentkit.errors import ParamError
from agentkit_weight import zo
from agentkit_weight.branches import PerturbContext
from agentkit_weight.replica import Record, Replica, ZoSpec
from agentkit_weight.sites import weight_of
from agentkit_weight.tagging import macro_f1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

    from agentkit import Unit
    from agentkit_weight.branches import Branch
    from agentkit_weight.encoder import Encoder, Rows
    from agentkit_weight.params import Zo
    from agentkit_weight.training import Head

CHECKPOINT_EVERY = 50


class TaggingObjective:
    """An objective on random batches of a unit's training strings: a `zo.Objective`.

    Args:
        unit: picks the batch of every step and worker.
        encoder: the frozen model.
        sites: the layers whose matrices are trained.
        rows: training strings.
        head: fixed classifier.
        batch: strings per step and worker.
        loss: `loss(logits, labels) -> number` to be minimised.
    """

    def __init__(
        self,
        unit: Unit,
        encoder: Encoder,
        sites: Mapping[str, torch.nn.Module],
        rows: Rows,
        head: Head,
        batch: int,
        loss: Callable[[Tensor, Tensor], Tensor | float],
    ) -> None:
        self.unit, self.encoder, self.rows, self.head = unit, encoder, rows, head
        self.sites, self.size, self.loss = sites, batch, loss
        self._weights: Mapping[str, Tensor] = {}

    def matrices(self) -> dict[str, Tensor]:
        """The sites' own matrices; read, never written."""
        return {name: weight_of(site) for name, site in self.sites.items()}

    def bind(self, weights: Mapping[str, Tensor]) -> None:
        """Evaluate with these matrices from now on."""
        self._weights = weights

    def value(self, step: int, worker: int, branches: Mapping[str, Branch]) -> tuple[Tensor, int]:
        """Objective on the batch of this step and worker, and its number of strings."""
        rng = self.unit.rng(f"zo-batch:{step}:{worker}")
        size = min(self.size, len(self.rows))
        batch = self.rows.batch([int(i) for i in rng.choice(len(self.rows), size=size, replace=False)])
        with running_on(self.encoder, self._weights), PerturbContext(self.sites) as context:
            context.put("probe", branches)
            logits = self.head(batch.words(self.encoder(batch)))
        return torch.as_tensor(self.loss(logits, batch.labels)), size


def objective_loss(
    name: str, classes: int, load: Callable[[str], Any]
) -> Callable[[Tensor, Tensor], Tensor | float]:
    """What `loss`, `accuracy`, `f1` or `py:module:factory` minimises, as a function of logits and labels.

    Args:
        name: one of these; the factory takes nothing and returns the function.
        classes: number of classes.
        load: the target behind a URI, as `Context.target`.

    Raises:
        ParamError: no such objective, or the factory returns no function.
    """
    if name == "loss":
        return functional.cross_entropy
    if name == "accuracy":
        return lambda logits, labels: 1 - float((logits.argmax(1) == labels).float().mean())
    if name == "f1":
        return lambda logits, labels: (
            1 - macro_f1(logits.argmax(1).cpu().numpy(), labels.cpu().numpy(), classes)
        )
    found: Callable[[Tensor, Tensor], Tensor | float] = load(name)
    if not callable(found):
        raise ParamError(
            f"objective {name}: the factory must return loss(logits, labels) -> number, not a {type(found).__name__}"
        )
    return found


def spec_of(objective: zo.Objective, params: Zo, run_seed: int) -> ZoSpec:
    """The spec of one run with these params."""
    return zo.make_spec(
        objective,
        run_seed=run_seed,
        steps=params.steps,
        workers=params.workers,
        probes=params.probes,
        rank=0 if params.noise == "rademacher_dense" else params.rank,
        eps=params.eps,
        lr=params.lr,
        sides=params.sides,
        estimator=params.estimator,
    )


class Fleet:
    """All workers of a run in this process, on one replica: they would hold equal ones anyway."""

    def __init__(self, objective: zo.Objective, spec: ZoSpec) -> None:
        first = zo.ZoWorker(objective, spec, 0)
        self.workers = [
            first,
            *(zo.ZoWorker(objective, spec, w, first.replica) for w in range(1, spec.workers)),
        ]
        self.replica = first.replica
        self.records: list[Record] = []
        self.losses: list[float] = []
        self.checkpoints: list[tuple[int, str]] = []

    def run(self, until: int) -> None:
        """Every step up to `until`: all probes first, then all records, one at a time."""
        spec = self.workers[0].spec
        for step in range(until):
            probes = [w.probe(step, sample) for w in self.workers for sample in range(spec.probes)]
            records = [p.record for p in probes]
            self.replica.apply(spec, records)
            self.records += records
            self.losses.append(sum(p.loss for p in probes) / len(probes))
            if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == until:
                self.checkpoints.append((step + 1, self.replica.digest()))


def gaussian_reference(objective: zo.Objective, params: Zo, unit: Unit) -> tuple[Replica, list[float]]:
    """The published in-place loop (MeZO) on a private replica: normal noise drawn anew four times a step.

    It drifts, and no byte log can rebuild it; it stands here as a yardstick.
    """
    replica = Replica(objective.matrices())
    objective.bind(replica.weights)
    losses = []
    for step in range(params.steps):

        def shift(size: float, step: int = step) -> None:
            generator = unit.torch_generator(f"zo-gaussian:{step}")
            for weight in replica.weights.values():
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=size)

        with torch.no_grad():
            shift(params.eps)
            plus = float(objective.value(step, 0, {})[0])
            shift(-2 * params.eps)
            minus = float(objective.value(step, 0, {})[0])
            shift(params.eps)
            rate = params.lr * (params.steps - step) / params.steps
            shift(-rate * (plus - minus) / (2 * params.eps))
        losses.append((plus + minus) / 2)
    return replica, losses


@contextmanager
def running_on(encoder: Encoder, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """The encoder runs on these matrices inside the block."""
    encoder.bind(weights)
    try:
        yield
    finally:
        encoder.bind({})
