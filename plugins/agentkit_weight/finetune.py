"""What `weight.finetune` does: one task, every condition of every unit, curves, adapters and byte logs."""

from __future__ import annotations

import math
import resource
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from agentkit import BASELINE, Measurements
from agentkit_weight import zo_tagging
from agentkit_weight.adapters import HEAD
from agentkit_weight.branches import Dense
from agentkit_weight.bytecode import saturated
from agentkit_weight.inputs import AdversarialStyle, InputNoise, NoisyEmbeddings, mask_tokens
from agentkit_weight.methods import make_method
from agentkit_weight.replica import Replica, digest_of
from agentkit_weight.sites import weight_of
from agentkit_weight.task import Task, evaluation_mode
from agentkit_weight.training import Trained, evaluate, train
from agentkit_weight.zo_factory import objective_on
from agentkit_weight.zo_log import ZoLog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from agentkit import Context, Unit
    from agentkit_weight.encoder import Encoder, Rows
    from agentkit_weight.finetune_tool import Finetune

RELATIVE_NOISE = 0.2
NOISE_DRAWS = 4
_CONTROLS = ("head", "labels_shuffled", "zo")
"""Methods that input noise is not combined with."""
_OF_THE_LOG = ("log_bytes", "weights_bytes", "log_rebuilds")
"""Metrics of zeroth-order training alone."""


def conditions_of(params: Finetune) -> dict[str, tuple[str, str]]:
    """Condition name -> (method, input noise); `baseline` is plain LoRA on clean input."""
    found = {BASELINE: ("lora", "none")}
    for method in params.methods:
        for noise in params.noises:
            if (method, noise) == ("lora", "none"):
                continue
            if noise == "none":
                found[method] = (method, noise)
            elif method not in _CONTROLS:
                found[f"{method}+{noise}"] = (method, noise)
    return found


def run(params: Finetune, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Measurements of all conditions and units; artifacts through `ctx`."""
    task = Task(params, ctx)
    conditions = {n: c for n, c in conditions_of(params).items() if ctx.wants(n)}
    table = Measurements.builder(units)
    done, costs = 0, []
    with evaluation_mode(task.model):
        for unit in units:
            work = UnitWork(task, params, unit, ctx)
            for name, (method, noise) in conditions.items():
                if ctx.cancelled:
                    break
                for metric, value in work.measure(name, method, noise).items():
                    table.add(unit, name, metric, value)
                costs.append({"unit": unit.index, "condition": name, **work.cost})
                done += 1
                ctx.progress(done, len(units) * len(conditions))
    ctx.artifact("cost.json", {"rows": costs, **_shared_cost(task)})
    return table.build()


class UnitWork:
    """All conditions of one unit: they share split, initial values, data order and typos."""

    def __init__(self, task: Task, params: Finetune, unit: Unit, ctx: Context) -> None:
        self.task, self.params, self.unit, self.ctx = task, params, unit, ctx
        self.train_at, self.test_at = task.split(unit)
        self.recipe = task.recipe(params, by_passes=params.budget == "passes", dtype=params.dtype)
        self.cost: dict[str, Any] = {}
        self._typos: dict[int, Rows] = {}
        self._lora_step_s: float | None = None

    def measure(self, condition: str, method: str, noise: str) -> dict[str, float]:
        """The metrics of one condition."""
        if method == "zo":
            return self._zero_order(condition)
        if method == "head":
            trained = train(
                self.unit, self.task.features, {}, self._train_rows(self.task.features), self.recipe
            )
            return self._finish(condition, self.task.features, trained)
        encoder, change = self._input_noise(noise)
        rows = self._train_rows(encoder)
        if method == "labels_shuffled":
            rows = self.task.shuffled_labels(self.unit, rows)
        step = make_method(
            method, self.params.ggpo, self.params.mgpo, self.params.sam, self.params.asam, self.params.awp
        )
        trained = train(self.unit, encoder, self.task.sites, rows, self.recipe, step, change)
        found = self._finish(condition, self.task.encoder, trained)
        if condition == BASELINE:
            self._lora_step_s = trained.cost.step_s / trained.cost.steps
            if "zo" in self.params.methods:
                found |= dict.fromkeys(_OF_THE_LOG, 0.0)
        return found

    def _train_rows(self, encoder: Encoder) -> Rows:
        return self.task.rows(encoder).take(self.train_at)

    def _input_noise(self, noise: str) -> tuple[Encoder, InputNoise]:
        """The encoder to train through and the noise; changed inputs cannot use the cached lower layers."""
        if noise == "token_mask" and self.params.token_mask.p:
            return self.task.whole, mask_tokens(self.task.tokenizer, self.params.token_mask.p)
        if noise == "neftune" and self.params.neftune.alpha:
            return self.task.whole, NoisyEmbeddings(self.params.neftune.alpha)
        if noise == "advstyle" and self.params.advstyle.p:
            return self.task.encoder, AdversarialStyle(self.params.advstyle.p)
        return self.task.encoder, InputNoise()

    def _finish(self, condition: str, encoder: Encoder, trained: Trained) -> dict[str, float]:
        """Test the model, keep its curve, its adapter and its cost."""
        tag = f"{condition}-u{self.unit.index}"
        columns = ("step", "loss", "gradient_norm", "radius")
        self.ctx.artifact(f"curve-{tag}.csv", [dict(zip(columns, row, strict=True)) for row in trained.curve])
        tensors = {f"{HEAD}{n}": t for n, t in trained.head.tensors().items()}
        if trained.adapter is not None:
            tensors.update(trained.adapter.tensors())
            self.ctx.artifact(f"adapter_config-{tag}.json", trained.adapter.peft_config())
        sha256 = self.ctx.artifact(f"adapter-{tag}.safetensors", tensors)
        self.cost = {**asdict(trained.cost), "perturb_s": trained.cost.perturb_s, "adapter_sha256": sha256}
        return self._test(encoder, trained)

    def _test(self, encoder: Encoder, trained: Trained) -> dict[str, float]:
        sites = self.task.sites if trained.adapter is not None else {}
        clean_rows = self.task.rows(encoder).take(self.test_at)
        clean = evaluate(encoder, sites, clean_rows, trained)
        typo = evaluate(encoder, sites, self._typo_rows(encoder), trained)
        found = {f"{m}_clean": clean[m] for m in ("accuracy", "macro_f1", "exact")}
        found |= {f"{m}_typo": typo[m] for m in ("accuracy", "macro_f1", "exact")}
        return {**found, "loss": clean["loss"], "weight_noise_rise": self._noise_rise(trained, clean["loss"])}

    def _typo_rows(self, encoder: Encoder) -> Rows:
        if id(encoder) not in self._typos:
            self._typos[id(encoder)] = self.task.typos(self.unit, self.test_at, encoder)
        return self._typos[id(encoder)]

    def _noise_rise(
        self, trained: Trained, loss: float, weights: Mapping[str, Tensor] | None = None
    ) -> float:
        """Mean rise of the clean test loss under noise of size 0.2 ||W_i|| per row of every site."""
        encoder, sites = self.task.encoder, self.task.sites
        rows = self.task.rows(encoder).take(self.test_at)
        generator = self.unit.torch_generator("weight-noise")
        total = 0.0
        for _ in range(NOISE_DRAWS):
            noise = {}
            for name, site in sites.items():
                weight = (weights or {}).get(name, weight_of(site).detach()).float()
                if trained.adapter is not None:
                    weight = weight + trained.adapter.branches()[name].dense()
                noise[name] = Dense(relative_noise(weight, RELATIVE_NOISE, generator))
            total += evaluate(encoder, sites, rows, trained, noise)["loss"] - loss
        return total / NOISE_DRAWS

    def _zero_order(self, condition: str) -> dict[str, float]:
        """Fit a head on the untouched features, then train the target matrices by probes alone."""
        task, params, unit = self.task, self.params.zo, self.unit
        objective, fitted = objective_on(task, self.params, unit)
        trained = Trained(None, fitted.head, fitted.curve, fitted.cost)
        start = time.thread_time()
        replica, extra = self._zo_weights(condition, objective)
        zo_seconds = time.thread_time() - start
        tag = f"{condition}-u{unit.index}"
        steps = max(1, params.steps)
        self.cost = {
            **asdict(trained.cost),
            "replica_bytes": replica.nbytes,
            "zo_step_s": zo_seconds / steps,  # beside it, what a step of backpropagation costs here
            "lora_step_s": self._lora_step_s,
            **extra,
        }
        self.ctx.artifact(
            f"head-{tag}.safetensors", {f"{HEAD}{n}": t for n, t in trained.head.tensors().items()}
        )
        with zo_tagging.running_on(task.encoder, replica.weights if params.steps else {}):
            found = self._zo_test(trained, replica)
        return found | {m: float(extra[m]) for m in _OF_THE_LOG if m in extra}

    def _zo_weights(
        self, condition: str, objective: zo_tagging.TaggingObjective
    ) -> tuple[Replica, dict[str, Any]]:
        params, tag = self.params.zo, f"{condition}-u{self.unit.index}"
        if params.noise == "gaussian_reference":
            replica, losses = zo_tagging.gaussian_reference(objective, params, self.unit)
            self.ctx.artifact(f"curve-{tag}.csv", [{"step": i, "loss": x} for i, x in enumerate(losses)])
            return replica, {}
        spec = zo_tagging.spec_of(objective, params, self.unit.seed)
        fleet = zo_tagging.Fleet(objective, spec)
        fleet.run(params.steps)
        self.ctx.artifact(f"curve-{tag}.csv", [{"step": i, "loss": x} for i, x in enumerate(fleet.losses)])
        log = ZoLog(spec, tuple(fleet.records), tuple(fleet.checkpoints), self._zo_task(objective))
        sha256 = self.ctx.artifact(f"zo-log-{tag}.npz", log.arrays())
        rebuilt = Replica(objective.matrices())
        rebuilt.apply(spec, log.records)
        share = saturated(r.byte for r in fleet.records)
        summary = {
            "zo_log_sha256": sha256,
            "log_bytes": len(fleet.records),
            "weights_bytes": fleet.replica.nbytes,
            "log_rebuilds": rebuilt.digest() == fleet.replica.digest(),
            "byte_saturated": share,
            "byte_saturated_warning": share > 0.01,
            "records_skipped": sum(r.byte == 0 for r in fleet.records),
        }
        self.ctx.artifact(f"zo-{tag}.json", summary)
        return fleet.replica, summary

    def _zo_task(self, objective: zo_tagging.TaggingObjective) -> dict[str, Any]:
        """What a replay needs to find model, data, unit and head again."""
        return {
            "params": self.params.model_dump(mode="json"),
            "unit": {"index": self.unit.index, "seed": str(self.unit.seed)},
            "head_sha256": digest_of(objective.head.tensors()),
        }

    def _zo_test(self, trained: Trained, replica: Replica) -> dict[str, float]:
        encoder = self.task.encoder
        clean = evaluate(encoder, {}, self.task.rows(encoder).take(self.test_at), trained)
        typo = evaluate(encoder, {}, self._typo_rows(encoder), trained)
        found = {f"{m}_clean": clean[m] for m in ("accuracy", "macro_f1", "exact")}
        found |= {f"{m}_typo": typo[m] for m in ("accuracy", "macro_f1", "exact")}
        rise = self._noise_rise(trained, clean["loss"], replica.weights)
        return {**found, "loss": clean["loss"], "weight_noise_rise": rise}


def relative_noise(weight: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """Per row size ||W_i|| / sqrt(n) N(0, 1): a row's noise is as long as `size` of the row, on average."""
    m, n = weight.shape
    normal = torch.randn(m, n, generator=generator).to(weight.device)
    row_norms: Tensor = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
    return normal * (row_norms * (size / math.sqrt(n)))


def _shared_cost(task: Task) -> dict[str, Any]:
    """What all conditions share: the cache, the sites, and the process's peak memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "prefix_cached": task.encoder.cached,
        "first_block_run": task.encoder.start,
        "prefix_note": "token_mask and neftune change the inputs: their training runs the whole model",
        "sites": sorted(task.sites),
        "peak_resident_bytes": peak,
    }
