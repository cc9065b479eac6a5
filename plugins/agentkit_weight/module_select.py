"""What `weight.module_select` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from agentkit import BASELINE, Measurements
from agentkit.errors import ParamError
from agentkit_weight.adapters import Adapter
from agentkit_weight.branches import LowRank, PerturbContext
from agentkit_weight.ranks import rank_correlation
from agentkit_weight.subject import subject_of
from agentkit_weight.task import Task, evaluation_mode
from agentkit_weight.training import Trained, evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit import Context, Unit
    from agentkit_weight.encoder import Rows
    from agentkit_weight.module_select_tool import ModuleSelect

Part = tuple[str, int | None]
"""A layer, and one rank of it or None for its whole adapter."""


def run(params: ModuleSelect, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Measurements of every removal; the table of removal against magnitude through `ctx`."""
    task = Task(params, ctx)
    table = Measurements.builder(units)
    details: list[dict[str, Any]] = []
    with evaluation_mode(task.model):
        for done, unit in enumerate(units):
            subject = subject_of(task, unit, params, ctx)
            if subject.trained.adapter is None:
                raise ParamError(
                    "module_select removes adapters, and `adapter: base` has none; name one, or leave it out"
                )
            at = task.split(unit)
            held_out = task.rows(task.encoder).take(at[1][: params.strings])
            work = Removal(task, subject.trained, held_out)
            table.add(unit, BASELINE, "removal_loss_rise", 0.0)
            table.add(unit, BASELINE, "rank_correlation", 0.0)
            parts = work.parts(params.unit_of_removal)
            everything = ctx.wants("magnitude") or ctx.wants(f"kept:{params.keep}")
            rises = {p: work.rise(p) for p in parts if everything or ctx.wants(f"without:{_name(p)}")}
            for part, rise in rises.items():
                table.add(unit, f"without:{_name(part)}", "removal_loss_rise", rise)
                details.append(
                    {
                        "unit": unit.index,
                        "part": _name(part),
                        "loss_rise": rise,
                        "magnitude": work.magnitude(part),
                    }
                )
            sizes = [work.magnitude(part) for part in rises]
            table.add(unit, "magnitude", "rank_correlation", rank_correlation(list(rises.values()), sizes))
            if params.keep is not None:
                if params.keep >= len(parts):
                    raise ParamError(f"keep {params.keep}: there are {len(parts)} adapters; keep fewer")
                train_rows = task.rows(task.encoder).take(at[0])
                table.add(
                    unit, f"kept:{params.keep}", "removal_loss_rise", _greedy(work, params, unit, train_rows)
                )
                details.append({"unit": unit.index, "removed_in_order": [_name(p) for p in work.removed]})
            ctx.progress(done + 1, len(units))
    ctx.artifact("removal.json", {"rows": details})
    return table.build()


class Removal:
    """One trained model, the adapters taken from it so far, and the strings that judge."""

    def __init__(self, task: Task, trained: Trained, held_out: Rows) -> None:
        if trained.adapter is None:
            raise AssertionError("the caller has checked that there is an adapter")
        self.task, self.trained, self.held_out = task, trained, held_out
        self.adapter: Adapter = trained.adapter
        self.removed: list[Part] = []
        self.clean = self._loss([])

    def parts(self, kind: str) -> list[Part]:
        """What can be removed still."""
        every: list[Part] = [(name, None) for name in self.adapter.factors]
        if kind == "rank":
            every = [(name, k) for name in self.adapter.factors for k in range(self.adapter.r)]
        return [part for part in every if part not in self.removed]

    def rise(self, part: Part) -> float:
        """Loss without this part too, above the loss of the whole model."""
        return self._loss([*self.removed, part]) - self.clean

    def magnitude(self, part: Part) -> float:
        """||s B A||_F of the part."""
        name, k = part
        a, b = self.adapter.factors[name]
        rows = slice(None) if k is None else slice(k, k + 1)
        return float(LowRank(b[:, rows], a[rows], self.adapter.scale).frobenius())

    def without(self, parts: list[Part]) -> Adapter:
        """The adapter with the parts' columns of B at zero; the factors are shared where nothing is removed."""
        factors = dict(self.adapter.factors)
        for name, k in parts:
            a, b = factors[name]
            b = b.detach().clone()
            b[:, slice(None) if k is None else k] = 0
            factors[name] = (a, b)
        return Adapter(factors, self.adapter.alpha, self.adapter.r)

    def tune(self, unit: Unit, rows: Rows, steps: int, lr: float, batch: int) -> None:
        """A few plain steps on what is left; removed parts stay at zero."""
        if steps == 0:
            return
        now = self.without(self.removed)
        factors = {
            n: (a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_())
            for n, (a, b) in now.factors.items()
        }
        tuned = Adapter(factors, now.alpha, now.r)
        head = self.trained.head.detached()
        parameters = [*tuned.parameters(), *(p.requires_grad_() for p in head.parameters())]
        optimizer = torch.optim.AdamW(parameters, lr=lr / 10, fused=True)
        rng = unit.rng(f"tune:{len(self.removed)}")
        with PerturbContext(self.task.sites) as context:
            for _ in range(steps):
                part = rows.batch(
                    [int(i) for i in rng.choice(len(rows), min(batch, len(rows)), replace=False)]
                )
                context.put("lora", _masked(tuned, self.removed))
                optimizer.zero_grad(set_to_none=True)
                loss = functional.cross_entropy(head(part.words(self.task.encoder(part))), part.labels)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        self.adapter = tuned.detached()
        self.trained = Trained(self.adapter, head.detached())

    def _loss(self, parts: list[Part]) -> float:
        model = Trained(self.without(parts), self.trained.head)
        return evaluate(self.task.encoder, self.task.sites, self.held_out, model)["loss"]


def _masked(adapter: Adapter, parts: list[Part]) -> dict[str, LowRank]:
    """Branches of the adapter with removed ranks multiplied by zero, gradients intact for the others."""
    out = {}
    for name, branch in adapter.branches().items():
        keep = torch.ones(adapter.r, device=branch.left.device)
        for site, k in parts:
            if site == name:
                keep[slice(None) if k is None else k] = 0
        out[name] = LowRank(branch.left * keep, branch.right, branch.scale)
    return out


def _greedy(work: Removal, params: ModuleSelect, unit: Unit, rows: Rows) -> float:
    """Remove the least harmful part, tune, repeat until `keep` parts are left; the rise at the end."""
    while len(work.parts(params.unit_of_removal)) > (params.keep or 1):
        work.removed.append(min(work.parts(params.unit_of_removal), key=work.rise))
        work.tune(unit, rows, params.tune_steps, params.lr, params.batch)
    return work._loss(work.removed) - work.clean


def _name(part: Part) -> str:
    return part[0] if part[1] is None else f"{part[0]}#{part[1]}"
