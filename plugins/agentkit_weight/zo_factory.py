"""An objective for workers of a distributed run, made from names and values: a model, a data set, a unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit import Unit
from agentkit_weight.finetune_tool import Finetune, finetune
from agentkit_weight.task import Task, evaluation_mode
from agentkit_weight.training import train
from agentkit_weight.zo_tagging import TaggingObjective, objective_loss

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit_weight.training import Trained


def tagging_objective(
    params: Mapping[str, Any], index: int, seed: str, targets: Mapping[str, str]
) -> TaggingObjective:
    """What `LocalFleet` and `RayFleet` call in each worker: load, fit the head, and be ready to probe.

    Every worker fits the same head, since equal units give equal numbers. For example:
    `LocalFleet("agentkit_weight.zo_factory:tagging_objective", {"params": …, "index": 0, "seed": "7", "targets":
    {"minilm:": "agentkit_attention.targets:minilm", "addresses:": "agentkit_input_noise.addresses:addresses"}})`.

    Args:
        params: of `weight.finetune`; its `zo` block says what is minimised.
        index: the unit's index.
        seed: the unit's seed, as text (JSON readers may round large numbers).
        targets: for each URI the params name, `module:loader` of its target loader.
    """
    from agentkit_weight.zo_fleet import load_factory

    loaded = {uri: load_factory(path).load(uri.partition(":")[2], "cpu") for uri, path in targets.items()}
    parsed: Any = finetune.parse(params)
    task = Task(parsed, _Loaded(loaded))  # type: ignore[arg-type]  # a task asks its context for targets alone
    task.model.eval()
    return objective_on(task, parsed, Unit(index=index, seed=int(seed)))[0]


def objective_on(task: Task, params: Finetune, unit: Unit) -> tuple[TaggingObjective, Trained]:
    """The objective of a unit under a head that was fitted on the untouched features."""
    train_at = task.split(unit)[0]
    with evaluation_mode(task.model):
        fitted = train(unit, task.features, {}, task.rows(task.features).take(train_at), task.recipe(params))
    objective = TaggingObjective(
        unit,
        task.encoder,
        task.sites,
        task.rows(task.encoder).take(train_at),
        fitted.head,
        params.batch,
        objective_loss(params.zo.objective, len(task.tags), task.load),
    )
    return objective, fitted


class _Loaded:
    """As much of a context as a task needs."""

    def __init__(self, targets: Mapping[str, Any]) -> None:
        self._targets = targets

    def target(self, uri: str) -> Any:
        return self._targets[uri]
