"""What `weight.bits` does: traces, rounding errors, an integer program, and the measured truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agentkit import BASELINE, Measurements
from agentkit_weight.errors import InfeasibleBudgetError
from agentkit_weight.hessian import Hessian, interval, rademacher
from agentkit_weight.ranks import rank_correlation
from agentkit_weight.subject import subject_of
from agentkit_weight.task import Task, evaluation_mode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from agentkit import Context, Unit
    from agentkit_weight.bits_tool import Bits
    from agentkit_weight.hessian import Trace
    from agentkit_weight.subject import Subject

WIDEST = 8
"""Bits that a size ratio of 1 stands for."""

Allocation = dict[str, int]


def run(params: Bits, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Measurements of every allocation; each with its bits, and whether it is on the Pareto front, through `ctx`."""
    task = Task(params, ctx)
    table = Measurements.builder(units)
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    with evaluation_mode(task.model):
        for done, unit in enumerate(units):
            subject = subject_of(task, unit, params, ctx)
            traces = layer_traces(subject, _calibration(subject, task, params), params.probes)
            omega = sensitivities(subject.weights, {n: t.value for n, t in traces.items()}, params.choices)
            clean = subject.loss()
            for metric in ("predicted_rise", "measured_rise", "rank_correlation"):
                table.add(unit, BASELINE, metric, 0.0)
            predicted, measured = [], []
            for name, allocation in _allocations(params, omega, subject.weights).items():
                predicted.append(0.5 * sum(omega[n][b] for n, b in allocation.items()))
                rounded = {n: quantised(subject.weights[n], b) for n, b in allocation.items()}
                measured.append(subject.loss_with(rounded) - clean)
                table.add(unit, name, "predicted_rise", predicted[-1])
                table.add(unit, name, "measured_rise", measured[-1])
                rows.append(
                    {
                        "unit": unit.index,
                        "allocation": name,
                        "size_ratio": size_of(allocation, subject.weights)
                        / size_of_all(WIDEST, subject.weights),
                        "predicted_rise": predicted[-1],
                        "measured_rise": measured[-1],
                        "bits": allocation,
                    }
                )
            mine = [row for row in rows if row["unit"] == unit.index]
            for row, on in zip(mine, on_front(mine), strict=True):
                row["on_front"] = on
            table.add(unit, "order", "rank_correlation", rank_correlation(predicted, measured))
            details.append({"unit": unit.index, "traces": {n: t._asdict() for n, t in traces.items()}})
            ctx.progress(done + 1, len(units))
    ctx.artifact("bits.json", {"rows": rows, "traces": details})
    ctx.artifact("pareto.png", _figure(rows))
    return table.build()


def quantised(weight: Tensor, bits: int) -> Tensor:
    """Symmetric rounding per output row to 2^bits - 1 levels, as a new float32 matrix."""
    top = 2 ** (bits - 1) - 1
    step = weight.abs().amax(1, keepdim=True) / top
    return torch.where(step > 0, (weight / step.clamp_min(1e-30)).round().clamp(-top, top) * step, weight)


def sensitivities(
    weights: Mapping[str, Tensor], traces: Mapping[str, float], choices: Sequence[int]
) -> dict[str, dict[int, float]]:
    """Omega_i(b) = tr(H_i) / n_i * ||Q_b(W_i) - W_i||^2 (HAWQ-V3); a negative trace counts as zero."""
    return {
        name: {
            b: max(0.0, traces[name]) / w.numel() * float((quantised(w, b) - w).square().sum())
            for b in sorted(choices)
        }
        for name, w in weights.items()
    }


def layer_traces(subject: Subject, batches: Any, probes: int) -> dict[str, Trace]:
    """tr(H_i) of every layer's own block, with its interval.

    One product with the whole Hessian gives all of them: v_i' (H v)_i has mean tr(H_i), because the
    entries of v are independent and the other blocks average out.
    """
    hessian = Hessian(lambda w: subject.loss_at(w, batches), subject.weights)
    generator = subject.unit.torch_generator("hessian-probes")
    draws: dict[str, list[float]] = {name: [] for name in subject.weights}
    for _ in range(probes):
        vector = rademacher(hessian.size, generator).to(hessian.gradient.device)
        product = hessian.split(hessian(vector))
        for name, piece in hessian.split(vector).items():
            draws[name].append(float((piece * product[name]).sum()))
    return {name: interval(values) for name, values in draws.items()}


def allocate(
    omega: Mapping[str, Mapping[int, float]], sizes: Mapping[str, int], limit_bits: float
) -> Allocation:
    """Bits per layer with the least summed omega whose total size is at most `limit_bits`, by MILP.

    Raises:
        InfeasibleBudgetError: even the narrowest choice is too large; the smallest size is named.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    layers = sorted(omega)
    cells = [(name, b) for name in layers for b in sorted(omega[name])]
    least = sum(sizes[name] * min(omega[name]) for name in layers)
    if least > limit_bits:
        widest = sum(sizes.values()) * WIDEST
        raise InfeasibleBudgetError(
            f"size_ratio {limit_bits / widest:.3g} cannot be met: the smallest reachable is {least / widest:.3g}"
        )
    costs = np.array([omega[name][b] for name, b in cells])
    one_each = np.array([[float(name == layer) for name, _ in cells] for layer in layers])
    size = np.array([[float(sizes[name] * b) for name, b in cells]])
    solved = milp(
        costs / max(costs.max(), 1e-30),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(size, 0, limit_bits)],
        integrality=np.ones(len(cells)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    return {name: b for (name, b), chosen in zip(cells, solved.x, strict=True) if chosen > 0.5}


def size_of(allocation: Allocation, weights: Mapping[str, Tensor]) -> int:
    """Bits that the matrices take."""
    return sum(weights[name].numel() * b for name, b in allocation.items())


def size_of_all(bits: int, weights: Mapping[str, Tensor]) -> int:
    """Bits that the matrices take at one width."""
    return sum(w.numel() * bits for w in weights.values())


def _allocations(
    params: Bits, omega: Mapping[str, Mapping[int, float]], weights: Mapping[str, Tensor]
) -> dict[str, Allocation]:
    found: dict[str, Allocation] = {
        f"uniform:{b}": {n: int(b) for n in weights} for b in sorted(params.choices)
    }
    sizes = {n: w.numel() for n, w in weights.items()}
    for ratio in params.size_ratio:
        found[f"mixed@{ratio:g}"] = allocate(omega, sizes, ratio * size_of_all(WIDEST, weights))
    return found


def _calibration(subject: Subject, task: Task, params: Bits) -> Any:
    """Training strings for the traces: those that judge are not among them."""
    rows = task.rows(task.encoder).take(task.split(subject.unit)[0][: params.calib_n])
    return [batch for _, batch in rows.batches(64)]


def on_front(rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Which allocations no other one beats: none is as small and as good, and better in one of the two."""
    at = [(row["size_ratio"], row["measured_rise"]) for row in rows]
    return [not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in at) for a in at]


_LABELS = {"uniform": "bits", "mixed": "size asked for"}


def _figure(rows: list[dict[str, Any]]) -> Any:
    """Left: size against rise, with the front. Right: what was predicted against what was measured. Means over units."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["allocation"] for row in rows))
    points = [_mean_row([row for row in rows if row["allocation"] == name]) for name in names]
    front = sorted((p for p, on in zip(points, on_front(points), strict=True) if on), key=_size)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    sizes, rises = figure.subplots(1, 2)
    sizes.step(
        [p["size_ratio"] for p in front], [p["measured_rise"] for p in front], where="post", color="0.6", zorder=0,
        label="Pareto front (measured)",
    )  # fmt: skip
    for kind, marker in (("uniform", "s"), ("mixed", "o")):
        mine = [p for p in points if p["allocation"].startswith(kind)]
        measured, predicted = ([p[f"{m}_rise"] for p in mine] for m in ("measured", "predicted"))
        sizes.scatter(
            [p["size_ratio"] for p in mine], measured, marker=marker, label=f"{kind} ({_LABELS[kind]})"
        )
        rises.scatter(predicted, measured, marker=marker, label=kind)
    for p in points:
        kind, label = p["allocation"].replace("@", ":").split(":")
        below = (4, -9) if kind == "mixed" else (4, 4)  # the two kinds often share a point
        at = (p["size_ratio"], p["measured_rise"])
        sizes.annotate(label, at, below, textcoords="offset points", fontsize=7)
    both = [p[m] for p in points for m in ("predicted_rise", "measured_rise")]
    rises.plot([min(both), max(both)], [min(both), max(both)], color="0.6", zorder=0, label="equal")
    for axes in (sizes, rises):
        axes.set_ylabel("rise of the loss, measured")
        axes.set_yscale("symlog", linthresh=1e-3)
        axes.legend(fontsize=8)
    rises.set_xscale("symlog", linthresh=1e-3)
    rises.tick_params(axis="x", labelrotation=45)
    sizes.set_xlabel("size against 8 bits a weight")
    rises.set_xlabel("rise of the loss, predicted")
    return figure


def _mean_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    means = {
        m: float(np.mean([r[m] for r in rows])) for m in ("size_ratio", "predicted_rise", "measured_rise")
    }
    return {"allocation": rows[0]["allocation"], **means}


def _size(row: Mapping[str, Any]) -> float:
    return float(row["size_ratio"])
