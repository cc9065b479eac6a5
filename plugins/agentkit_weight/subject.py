"""The model under study in a unit: base weights, an adapter or none, a head, and a fixed batch of strings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from agentkit.errors import ParamError
from agentkit_weight.adapters import Adapter, read_adapter
from agentkit_weight.artifact_files import read_named
from agentkit_weight.branches import PerturbContext
from agentkit_weight.errors import SiteNotHitError
from agentkit_weight.sites import weight_of
from agentkit_weight.training import Head, Trained, train
from agentkit_weight.zo_tagging import running_on

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from agentkit import Context, Unit
    from agentkit_weight.branches import Branch
    from agentkit_weight.params import SubjectParams
    from agentkit_weight.tagging import Batch
    from agentkit_weight.task import Task

BASE = "base"
"""`adapter: base` looks at the target's own weights under a fitted head."""


class Subject:
    """Loss and its derivatives as a function of the site matrices of one unit.

    Attributes:
        trained: adapter (None for the base) and head.
        weights: W0 + s B A of every site, float32, by name; private copies.
        batches: the strings the loss is taken over, the unit's own test strings.
    """

    def __init__(self, task: Task, unit: Unit, trained: Trained, strings: int) -> None:
        self.task, self.unit, self.trained = task, unit, trained
        self.weights = {name: weight_of(site).detach().float().clone() for name, site in task.sites.items()}
        if trained.adapter is not None:
            for name, branch in trained.adapter.branches().items():
                self.weights[name] += branch.dense()
        rows = task.rows(task.encoder).take(task.split(unit)[1][:strings])
        self.batches: list[Batch] = [batch for _, batch in rows.batches(64)]

    def loss_at(
        self, weights: Mapping[str, Tensor], batches: Sequence[Batch] = (), head: Head | None = None
    ) -> Tensor:
        """Mean cross-entropy over all words with these site matrices; differentiable in them.

        Args:
            weights: matrices by site name.
            batches: other strings than the subject's own.
            head: another head than the subject's own.
        """
        chosen = batches or self.batches
        encoder, head = self.task.encoder, head or self.trained.head
        with running_on(encoder, weights), sdpa_kernel(SDPBackend.MATH):
            sums = [
                functional.cross_entropy(head(batch.words(encoder(batch))), batch.labels, reduction="sum")
                for batch in chosen
            ]
        return torch.stack(sums).sum() / sum(len(batch.labels) for batch in chosen)

    @torch.no_grad()
    def loss(self, branches: Mapping[str, Branch] | None = None) -> float:
        """The loss with branches added to the trained matrices."""
        with PerturbContext(self.task.sites) as context:
            context.put("extra", branches or {})
            return float(self.loss_at(self.weights))

    @torch.no_grad()
    def loss_with(self, weights: Mapping[str, Tensor]) -> float:
        """The loss with some matrices replaced, the others as trained."""
        return float(self.loss_at({**self.weights, **weights}))


def subject_of(task: Task, unit: Unit, params: SubjectParams, ctx: Context) -> Subject:
    """The subject that the params name, on this unit.

    Raises:
        ParamError: the adapter file brings no head, or one for other classes.
        SiteNotHitError: the adapter's layers are not those of `targets`.
    """
    if params.adapter in (None, BASE):
        encoder = task.features if params.adapter == BASE else task.encoder
        sites = {} if params.adapter == BASE else task.sites
        rows = task.rows(encoder).take(task.split(unit)[0])
        return Subject(task, unit, train(unit, encoder, sites, rows, task.recipe(params)), params.strings)
    return Subject(task, unit, load_trained(task, str(params.adapter), ctx), params.strings)


def load_trained(task: Task, name: str, ctx: Context) -> Trained:
    """Adapter and head from a file; raises as `subject_of`."""
    adapter, head = read_adapter(read_named(ctx, name))
    if foreign := sorted(set(adapter.factors) - set(task.sites)):
        raise SiteNotHitError(
            f"the adapter has a layer {foreign[0]!r} that targets and top_layers leave out; give those of its training"
        )
    if head.get("weight") is None or len(head["weight"]) != len(task.tags):
        raise ParamError(
            f"adapter {name}: it brings no head for {len(task.tags)} classes; use a file that weight.finetune wrote"
        )
    return Trained(_complete(adapter, task), Head(head["weight"], head["bias"]))


def _complete(adapter: Adapter, task: Task) -> Adapter:
    """The adapter in the task's site order, on the task's device."""
    device = task.encoder.device
    ordered = {n: adapter.factors[n] for n in task.sites if n in adapter.factors}
    return Adapter(
        {n: (a.to(device), b.to(device)) for n, (a, b) in ordered.items()}, adapter.alpha, adapter.r
    )
