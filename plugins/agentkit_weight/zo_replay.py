"""What `weight.zo_replay` does: load the log, find model and data again, replay, test, audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from agentkit import BASELINE, Measurements, Unit
from agentkit.errors import ParamError
from agentkit_weight import bytecode, zo_log
from agentkit_weight.artifact_files import read_named
from agentkit_weight.errors import LogMismatchError, ReplicaDivergedError
from agentkit_weight.finetune_tool import finetune
from agentkit_weight.replica import Record, Replica, digest_of
from agentkit_weight.sites import weight_of
from agentkit_weight.task import Task, evaluation_mode
from agentkit_weight.training import Head, Trained, evaluate, train
from agentkit_weight.zo_tagging import running_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from agentkit import Context
    from agentkit_weight.zo_log import ZoLog
    from agentkit_weight.zo_replay_tool import ZoReplay


def run(params: ZoReplay, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Measurements of every branch; rebuilt matrices and the audit table through `ctx`."""
    log = zo_log.ZoLog.read(read_named(ctx, params.log))
    _require_workers(params, log)
    task, trained_on = _task_of(log, ctx)
    base = {name: weight_of(site).detach() for name, site in task.sites.items()}
    zo_log.require_base(log.spec, digest_of(base))
    branches, equal = {}, {}
    for name, records in _branches(params, log).items():
        if ctx.wants(name):
            branches[name], equal[name] = _replayed(name, records, params, log, base)
            ctx.artifact(f"weights-{name}.safetensors", branches[name].weights)
    table = Measurements.builder(units)
    with evaluation_mode(task.model):
        fitted = _head_of(task, log, trained_on)
        ctx.artifact("audit.json", _audit(log, fitted.head))
        for unit in units:
            for name, replica in branches.items():
                if equal[name] is not None:
                    table.add(unit, name, "digest_equal", float(bool(equal[name])))
                for metric, value in _test(task, trained_on, unit, fitted, replica.weights).items():
                    table.add(unit, name, metric, value)
    return table.build()


def _require_workers(params: ZoReplay, log: ZoLog) -> None:
    for worker in (*params.drop_workers, *params.only_workers):
        if worker >= log.spec.workers:
            raise ParamError(f"worker {worker}: the log has workers 0 to {log.spec.workers - 1}")
    if params.until is not None and params.until > log.steps_done:
        raise ParamError(f"until {params.until}: the log has {log.steps_done} steps")


def _branches(params: ZoReplay, log: ZoLog) -> dict[str, list[Record]]:
    found = {BASELINE: [], "replay": zo_log.choose(log.records, until=params.until)}
    if params.drop_workers:
        name = "drop:" + ",".join(map(str, params.drop_workers))
        found[name] = zo_log.choose(log.records, until=params.until, drop=params.drop_workers)
    if params.only_workers:
        name = "only:" + ",".join(map(str, params.only_workers))
        found[name] = zo_log.choose(log.records, until=params.until, only=params.only_workers)
    return found


def _replayed(
    name: str, records: list[Record], params: ZoReplay, log: ZoLog, base: dict[str, Tensor]
) -> tuple[Replica, bool | None]:
    """The branch's weights, and whether they are the recorded ones (None where nothing is recorded)."""
    replica = Replica(base)
    if name == BASELINE:
        return replica, replica.digest() == log.spec.base_sha256
    if name != "replay":
        replica.apply(log.spec, records)
        return replica, None
    goal = log.steps_done if params.until is None else params.until
    marks = [step for step, _ in log.checkpoints if step < goal] if params.verify else []
    equal: bool | None = None
    for start, stop in zip([0, *marks], [*marks, goal], strict=True):
        replica.apply(log.spec, [r for r in records if start <= r.step < stop])
        recorded = log.digest_at(stop)
        equal = None if recorded is None else replica.digest() == recorded
        if equal is False and params.verify:
            raise ReplicaDivergedError(
                f"the replay differs from the log's own digest after step {stop}: the log or the noise rule was changed"
            )
    return replica, equal


def _task_of(log: ZoLog, ctx: Context) -> tuple[Task, Unit]:
    """The task and the unit that the log was written on."""
    if "params" not in log.task:
        raise LogMismatchError(
            "this log names no task; logs of weight.finetune do, those of ZoRun are replayed in Python"
        )
    params: Any = finetune.parse(log.task["params"])
    stored = log.task["unit"]
    return Task(params, ctx), Unit(index=int(stored["index"]), seed=int(stored["seed"]))


def _head_of(task: Task, log: ZoLog, unit: Unit) -> Trained:
    """The head, fitted again on the untouched features: same unit, same numbers."""
    rows = task.rows(task.features).take(task.split(unit)[0])
    params: Any = finetune.parse(log.task["params"])
    fitted = train(unit, task.features, {}, rows, task.recipe(params))
    return Trained(None, fitted.head)


def _test(
    task: Task, trained_on: Unit, unit: Unit, trained: Trained, weights: dict[str, Tensor]
) -> dict[str, float]:
    """Task metrics on the test strings of the log's own split, typos from the unit."""
    indices = task.split(trained_on)[1]
    with running_on(task.encoder, weights):
        clean = evaluate(task.encoder, {}, task.rows(task.encoder).take(indices), trained)
        typo = evaluate(task.encoder, {}, task.typos(unit, indices, task.encoder), trained)
    found = {f"{m}_clean": clean[m] for m in ("accuracy", "macro_f1", "exact")}
    return {
        **found,
        **{f"{m}_typo": typo[m] for m in ("accuracy", "macro_f1", "exact")},
        "loss": clean["loss"],
    }


def _audit(log: ZoLog, head: Head) -> dict[str, Any]:
    """Per worker: how many bytes, how many say nothing, and how far they moved the weights."""
    rows = []
    for worker in range(log.spec.workers):
        mine = [r for r in log.records if r.worker == worker]
        rows.append(
            {
                "worker": worker,
                "records": len(mine),
                "absent": log.steps_done * log.spec.probes - len(mine),
                "skipped": sum(r.byte == bytecode.SKIP for r in mine),
                "saturated": bytecode.saturated(r.byte for r in mine),
                "negative": sum(r.byte > 127 for r in mine),
                "sum_abs_coefficient": sum(abs(log.spec.coefficient(r)) for r in mine),
            }
        )
    weights_bytes = 4 * sum(m * n for m, n in log.spec.shapes)
    return {
        "workers": rows,
        "head_equal": digest_of(head.tensors()) == log.task["head_sha256"],
        "log_bytes": len(log.records),
        "weights_bytes": weights_bytes,
        "steps": log.steps_done,
        "torch": torch.__version__,
    }
