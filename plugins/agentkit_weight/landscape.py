"""What `weight.landscape` does: directions, a grid of losses, a figure.

Each axis is stored once. A grid point's matrices are formed in one private scratch copy of the target
matrices, row by row of the plane: first along `a`, then along `b`. The model is neither copied nor written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agentkit import BASELINE, Measurements
from agentkit_weight.adapters import HEAD
from agentkit_weight.subject import Subject, load_trained, subject_of
from agentkit_weight.task import Task, evaluation_mode
from agentkit_weight.training import Head

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from agentkit import Context, Unit
    from agentkit_weight.landscape_tool import Landscape

Direction = dict[str, "Tensor"]


def run(params: Landscape, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Measurements of all grid points; the figure and the table through `ctx`."""
    task = Task(params, ctx)
    table = Measurements.builder(units)
    rows: list[dict[str, Any]] = []
    with evaluation_mode(task.model):
        for done, unit in enumerate(units):
            subject = subject_of(task, unit, params, ctx)
            if params.directions == "between":
                losses, at, marks = *_line_between(params, subject, ctx), None
            else:
                axes, at, marks = _axes(params, subject, ctx)
                names = [name for name, _ in _names(params, at)]
                asked = np.array([ctx.wants(name) for name in names]).reshape((len(at),) * params.dims)
                losses = grid_losses(subject.weights, axes, at, subject.loss_with, asked)
            for (condition, values), loss in zip(_names(params, at), losses.ravel(), strict=True):
                if np.isnan(loss):  # nobody asked for this point
                    continue
                table.add(unit, condition, "loss", float(loss))
                rows.append({"unit": unit.index, "condition": condition, **values, "loss": float(loss)})
            if params.directions == "between":
                table.add(unit, BASELINE, "barrier", 0.0)
                table.add(unit, "path", "barrier", float(losses.max() - max(losses[0], losses[-1])))
            if done == 0 and not np.isnan(losses).any():
                ctx.artifact(
                    "landscape.png", _figure(at, losses, marks, _UNITS[params.directions], unit.index)
                )
            ctx.progress(done + 1, len(units))
    ctx.artifact("landscape.csv", rows)
    return table.build()


@torch.inference_mode()
def grid_losses(
    centre: Mapping[str, Tensor],
    axes: Sequence[Direction],
    at: Sequence[float],
    loss: Callable[[Mapping[str, Tensor]], float],
    asked: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Losses at centre + a axes[0] (+ b axes[1]), shape (grid,) or (grid, grid) with `a` first.

    At a = b = 0 the centre itself is evaluated, so that its loss is the unperturbed one bit for bit. The
    matrices handed to `loss` are overwritten by the next point. Points that are not `asked` for stay NaN.
    """
    scratch = {name: torch.empty_like(w) for name, w in centre.items()}
    asked = np.ones((len(at),) * len(axes), bool) if asked is None else asked
    out = np.full(asked.shape, np.nan)
    if len(axes) == 1:
        for i in map(int, np.flatnonzero(asked)):
            out[i] = _at(centre, axes[0], at[i], loss, scratch)
        return out
    row = {name: torch.empty_like(w) for name, w in centre.items()}
    for i in map(int, np.flatnonzero(asked.any(1))):
        for name, w in centre.items():
            torch.add(w, axes[0][name], alpha=at[i], out=row[name])
        for j in map(int, np.flatnonzero(asked[i])):
            out[i, j] = _at(centre if at[i] == 0 else row, axes[1], at[j], loss, scratch)
    return out


def _at(
    start: Mapping[str, Tensor],
    axis: Direction,
    size: float,
    loss: Callable[[Mapping[str, Tensor]], float],
    scratch: Direction,
) -> float:
    if size == 0:
        return loss(start)
    for name, w in start.items():
        torch.add(w, axis[name], alpha=size, out=scratch[name])
    return loss(scratch)


def filter_normalised(direction: Direction, weights: Mapping[str, Tensor]) -> Direction:
    """Each output row of the direction as long as that row of the weights (Li et al. 2018)."""
    return {
        name: d * (weights[name].norm(dim=1, keepdim=True) / (d.norm(dim=1, keepdim=True) + 1e-12))
        for name, d in direction.items()
    }


def random_direction(weights: Mapping[str, Tensor], generator: torch.Generator) -> Direction:
    """A normal direction, filter-normalised."""
    drawn = {n: torch.randn(w.shape, generator=generator).to(w.device) for n, w in weights.items()}
    return filter_normalised(drawn, weights)


def path_axes(
    points: Sequence[Mapping[str, Tensor]], dims: int
) -> tuple[list[Direction], NDArray[np.float64]]:
    """Leading principal axes of a path that ends at the last point, and every point's coordinates.

    The axes are orthonormal over all weights together; coordinates (points, dims) are relative to the last.
    """
    names = sorted(points[-1])
    flat = torch.stack([torch.cat([(p[n] - points[-1][n]).reshape(-1) for n in names]) for p in points[:-1]])
    gram = (flat @ flat.T).double()
    values, vectors = torch.linalg.eigh(gram)
    axes = []
    for k in range(1, dims + 1):
        axis = (vectors[:, -k].to(flat.dtype) @ flat) / values[-k].clamp_min(1e-24).sqrt().to(flat.dtype)
        pieces = torch.split(axis, [points[-1][n].numel() for n in names])
        axes.append({n: piece.view_as(points[-1][n]) for n, piece in zip(names, pieces, strict=True)})
    basis = torch.stack([torch.cat([a[n].reshape(-1) for n in names]) for a in axes])
    coordinates = torch.cat([flat @ basis.T, torch.zeros(1, dims)])
    return axes, coordinates.double().numpy()


def _line_between(
    params: Landscape, subject: Subject, ctx: Context
) -> tuple[NDArray[np.float64], list[float]]:
    """Losses on the line from the subject to the other adapter; their heads are mixed like their matrices."""
    end = load_trained(subject.task, params.others[0], ctx)
    other = Subject(subject.task, subject.unit, end, 4)
    start_head, end_head = subject.trained.head, end.head

    def loss(point: Mapping[str, Tensor]) -> float:
        head = Head(point[f"{HEAD}weight"], point[f"{HEAD}bias"])
        return float(subject.loss_at({n: point[n] for n in subject.weights}, head=head))

    centre = {**subject.weights, **_headed(start_head)}
    goal = {**other.weights, **_headed(end_head)}
    at = [float(t) for t in np.linspace(0, 1, params.grid)]
    return grid_losses(centre, [{n: goal[n] - w for n, w in centre.items()}], at, loss), at


def _headed(head: Head) -> Direction:
    return {f"{HEAD}{n}": t for n, t in head.tensors().items()}


def _axes(
    params: Landscape, subject: Subject, ctx: Context
) -> tuple[list[Direction], list[float], NDArray[np.float64] | None]:
    """Axes, coordinates along each, and the path's own points where there is a path."""
    at = [params.span * (2 * i - params.grid + 1) / (params.grid - 1) for i in range(params.grid)]
    if params.directions == "random":
        generator = subject.unit.torch_generator("directions")
        return [random_direction(subject.weights, generator) for _ in range(params.dims)], at, None
    points = [*(_weights_of(subject, name, ctx) for name in params.others), subject.weights]
    axes, coordinates = path_axes(points, params.dims)
    reach = float(np.abs(coordinates).max()) or 1.0
    return axes, [a * reach / params.span * (1 + params.span) for a in at], coordinates


def _weights_of(subject: Subject, name: str, ctx: Context) -> Direction:
    trained = load_trained(subject.task, name, ctx)
    return Subject(subject.task, subject.unit, trained, 4).weights


def _names(params: Landscape, at: Sequence[float]) -> list[tuple[str, dict[str, float]]]:
    letters = "t" if params.directions == "between" else "ab"[: params.dims]
    points = [(a,) for a in at] if params.dims == 1 else [(a, b) for a in at for b in at]
    named = [dict(zip(letters, point, strict=True)) for point in points]
    return [
        (",".join(f"{k}={v:.6g}" for k, v in point.items()) if any(point.values()) else BASELINE, point)
        for point in named
    ]


_UNITS = {
    "random": "filter norms",
    "path_pca": "distance in the weights",
    "between": "0: adapter, 1: the other one",
}


def _figure(
    at: Sequence[float],
    losses: NDArray[np.float64],
    marks: NDArray[np.float64] | None,
    measure: str,
    unit: int,
) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    if losses.ndim == 1:
        axes.plot(at, losses, marker=".")
        axes.set_xlabel(f"along the direction ({measure})")
        axes.set_ylabel(f"loss (unit {unit})")
    else:
        drawn = axes.contourf(at, at, losses.T, levels=20)
        figure.colorbar(drawn, label=f"loss (unit {unit})")
        axes.set_xlabel(f"a ({measure})")
        axes.set_ylabel(f"b ({measure})")
        path = np.zeros((1, 2)) if marks is None else marks
        axes.plot(path[:, 0], path[:, 1], marker="o", color="white")  # ends at the subject itself
    return figure
