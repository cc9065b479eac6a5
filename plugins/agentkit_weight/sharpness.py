"""What `weight.sharpness` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from agentkit import BASELINE, Measurements
from agentkit_weight.branches import Dense
from agentkit_weight.finetune import relative_noise
from agentkit_weight.hessian import Hessian, hutchinson, interval, lanczos
from agentkit_weight.subject import subject_of
from agentkit_weight.task import Task, evaluation_mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from agentkit import Context, Unit
    from agentkit_weight.sharpness_tool import Sharpness
    from agentkit_weight.subject import Subject


def run(params: Sharpness, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Measurements of all radii and modules; residuals and intervals through `ctx`."""
    task = Task(params, ctx)
    table = Measurements.builder(units)
    details: list[dict[str, Any]] = []
    with evaluation_mode(task.model):
        for done, unit in enumerate(units):
            subject = subject_of(task, unit, params, ctx)
            clean = subject.loss()
            for name, sites, noise in _conditions(params, task):
                if not ctx.wants(name):
                    continue
                values, detail = _measure(
                    subject, params, clean, sites, noise, full=not name.startswith("noise=")
                )
                for metric, value in values.items():
                    table.add(unit, name, metric, value)
                details.append({"unit": unit.index, "condition": name, "loss": clean, **detail})
            ctx.progress(done + 1, len(units))
    ctx.artifact("sharpness.json", {"rows": details, "sam_rise": "a lower bound: one normalised ascent step"})
    if details:
        ctx.artifact("sharpness.png", _figure(details))
    return table.build()


def _conditions(params: Sharpness, task: Task) -> Iterable[tuple[str, list[str], float]]:
    """(condition, sites it is about, noise size)."""
    everything = sorted(task.sites)
    yield BASELINE, everything, params.noise[0]
    for noise in params.noise[1:]:
        yield f"noise={noise:g}", everything, noise
    if params.per_module:
        for site in everything:
            yield f"module:{site}", [site], params.noise[0]


def _measure(
    subject: Subject, params: Sharpness, clean: float, sites: list[str], noise: float, *, full: bool
) -> tuple[dict[str, float], dict[str, Any]]:
    rises = noise_rises(subject, sites, noise, params.probes, clean)
    values = {"noise_rise": rises.value}
    detail: dict[str, Any] = {"noise_rise": rises._asdict(), "noise": noise}
    if not full:
        return values, detail

    def loss(part: Mapping[str, Tensor]) -> Tensor:
        return subject.loss_at({**subject.weights, **part})

    hessian = Hessian(loss, {name: subject.weights[name] for name in sites})
    generator = subject.unit.torch_generator("hessian-probes")
    start = torch.randn(hessian.size, generator=generator).to(hessian.gradient.device)
    top = lanczos(hessian, start, params.lanczos)
    trace = hutchinson(hessian, hessian.size, params.probes, generator, torch.float32)
    step = hessian.gradient * (params.rho / (hessian.gradient.norm() + 1e-12))
    moved = {name: subject.weights[name] + d for name, d in hessian.split(step).items()}
    values |= {
        "lambda_max": top.value,
        "trace": trace.value,
        "sam_rise": subject.loss_with(moved) - clean,
        "lr_lambda_half": params.lr * top.value / 2,
        "lr_trace_half": params.lr * trace.value / 2,
    }
    return values, {**detail, "lambda_max": top._asdict(), "trace": trace._asdict(), "weights": hessian.size}


def noise_rises(subject: Subject, sites: list[str], size: float, draws: int, clean: float) -> Any:
    """Mean rise of the loss under relative row noise on these sites, with its interval."""
    generator = subject.unit.torch_generator("weight-noise")
    rises = []
    for _ in range(draws):
        noise = {n: Dense(relative_noise(subject.weights[n], size, generator)) for n in sites}
        rises.append(subject.loss(noise) - clean)
    return interval(rises)


def _figure(rows: list[dict[str, Any]]) -> Any:
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["condition"] for row in rows))
    shown = [_over_units([row["noise_rise"] for row in rows if row["condition"] == name]) for name in names]
    figure = Figure(figsize=(8, 0.3 * len(names) + 1.5), layout="constrained")
    axes = figure.subplots()
    errors = [[value - low for value, low, _ in shown], [high - value for value, _, high in shown]]
    axes.barh(names, [value for value, _, _ in shown], xerr=errors, capsize=2)
    over = "units" if len(rows) > len(names) else "draws"
    axes.set_xlabel(f"rise of the loss under weight noise (95 % interval over {over})")
    axes.set_ylim(len(names) - 0.5, -0.5)
    return figure


def _over_units(rises: Sequence[Mapping[str, float]]) -> tuple[float, float, float]:
    """Mean and ends of its interval: over the units, or over the draws of the only one."""
    if len(rises) == 1:
        return rises[0]["value"], rises[0]["low"], rises[0]["high"]
    mean, low, high, _ = interval([rise["value"] for rise in rises])
    return mean, low, high
