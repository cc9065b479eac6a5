"""The bodies of `attention.explain` and `attention.mask_regions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from agentkit import BASELINE, Measurements
from agentkit.errors import ParamError, TargetError
from agentkit_attention import regions as r
from agentkit_attention.image_scores import logits_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from agentkit import Context, Unit
    from agentkit_attention.explain import Explain, MaskRegions, OnImages


def run_explain(params: Explain, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Rank and score every drawn image by every asked method."""
    classifier, data = ctx.target(params.target), ctx.target(params.data)
    methods = [m for m in dict.fromkeys(params.methods) if ctx.wants(m)]
    areas = np.zeros((2, len(units), 1 + len(methods)))
    with torch.no_grad():
        for row, unit in enumerate(units):
            images, labels = drawn(params, unit, classifier, data)
            grid = r.grid_regions(images.shape[2], images.shape[3], params.grid)
            maps: list[Tensor] = []
            for i, (image, label) in enumerate(zip(images, labels, strict=True)):
                score, fill = class_score(classifier, int(label)), r.filled(image, params.fill)
                chance = torch.from_numpy(unit.rng(f"order/{i}").permutation(grid.count).copy())
                orders = [chance]
                for method in methods:
                    saliency = _saliency(method, params, score, image, fill, grid, unit.rng(f"rise/{i}"))
                    orders.append(r.order_of(saliency))
                    if i == 0:
                        maps.append(saliency)
                for column, order in enumerate(orders):
                    areas[:, row, column] += r.curve_areas(score, image, fill, grid, order)
            areas[:, row] /= len(images)
            if row == 0 and maps:
                ctx.artifact("maps.png", overlay(images[0], maps, methods, grid))
            ctx.progress(row + 1, len(units))
    names = [BASELINE, *methods]
    return Measurements.from_arrays(units, names, {"insertion_auc": areas[0], "deletion_auc": areas[1]})


def run_mask(params: MaskRegions, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Hide regions of every drawn image."""
    classifier, data = ctx.target(params.target), ctx.target(params.data)
    table = Measurements.builder(units)
    with torch.no_grad():
        for done, unit in enumerate(units):
            images, labels = drawn(params, unit, classifier, data)
            grid = r.grid_regions(images.shape[2], images.shape[3], params.grid)
            values: dict[str, list[Tensor]] = {}
            for i, (image, label) in enumerate(zip(images, labels, strict=True)):
                hidden = hidden_sets(params, grid.count, unit.rng(f"order/{i}"))
                fill = r.filled(image, params.fill)
                masks = grid.mask(~torch.stack([torch.zeros(grid.count, dtype=torch.bool), *hidden.values()]))
                p = probabilities(classifier, fill + masks * (image - fill))
                f = p[:, label]
                values.setdefault("p_class", []).append(f)
                values.setdefault("kept_label", []).append((p.argmax(1) == p[0].argmax()).double())
                values.setdefault("average_drop", []).append(((f[0] - f) / f[0]).clamp(0, 1))
                values.setdefault("increase", []).append((f > f[0]).double())
            for metric, rows in values.items():
                for name, value in zip([BASELINE, *hidden], torch.stack(rows).mean(0).tolist(), strict=True):
                    if ctx.wants(name):
                        table.add(unit, name, metric, value)
            ctx.progress(done + 1, len(units))
    return table.build()


def hidden_sets(params: MaskRegions, count: int, rng: np.random.Generator) -> dict[str, Tensor]:
    """Which regions each condition hides, boolean [regions]; shares are nested in one random order."""
    if not params.share:
        one = torch.eye(count, dtype=torch.bool)
        return {f"R{k // params.grid}C{k % params.grid}": one[k] for k in range(count)}
    rank = torch.from_numpy(rng.permutation(count).copy())
    return {f"share={s:g}": rank < round(s * count) for s in params.share}


def drawn(params: OnImages, unit: Unit, classifier: Any, data: Any) -> tuple[Tensor, Tensor]:
    """A unit's images [n, channels, height, width] and the class that is explained in each, [n].

    Raises:
        TargetError: the data holds no images, or the target is no classifier. ParamError: too many images.
    """
    if not hasattr(data, "images"):
        raise TargetError(f"{params.data} holds no images: it needs .images [n, channels, height, width]")
    if not isinstance(classifier, nn.Module):
        raise TargetError(f"{params.target} is no module that gives logits for images")
    pool = list(getattr(data, "test", range(len(data.images))))
    if params.n > len(pool):
        raise ParamError(f"n {params.n}: {params.data} has {len(pool)} images")
    picked = unit.rng("items").choice(len(pool), params.n, replace=False)
    images = data.images[[pool[i] for i in picked]].float()
    p = probabilities(classifier, images)
    if params.label is None:
        return images, p.argmax(1)
    if params.label >= p.shape[1]:
        raise ParamError(f"label {params.label}: {params.target} knows classes 0 to {p.shape[1] - 1}")
    return images, torch.full((params.n,), params.label)


def probabilities(classifier: Any, images: Tensor) -> Tensor:
    """Class probabilities, float64 [n, classes]."""
    return logits_of(classifier, images).double().softmax(1).cpu()


def class_score(classifier: Any, label: int) -> Callable[[Tensor], Tensor]:
    """The probability of one class, [n] for images [n, …]; differentiable."""
    return lambda images: logits_of(classifier, images).double().softmax(1)[:, label].cpu()


def _saliency(
    method: str,
    params: Explain,
    score: Callable[[Tensor], Tensor],
    image: Tensor,
    fill: Tensor,
    grid: r.Regions,
    rng: np.random.Generator,
) -> Tensor:
    if method == "rise":
        return r.by_rise(score, image, fill, grid, rng, params.masks, params.p)
    by = {"occlusion": r.by_occlusion, "gradient": r.by_gradient, "regions": r.by_search}[method]
    return by(score, image, fill, grid)


def overlay(image: Tensor, maps: Sequence[Tensor], names: Sequence[str], grid: r.Regions) -> Any:
    """A figure: the image, and each method's saliency over it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.1 * (1 + len(maps)), 2.4))
    axes = figure.subplots(1, 1 + len(maps), squeeze=False)[0]
    picture = image.permute(1, 2, 0).squeeze(-1).numpy()
    for axis, name in zip(axes, ["image", *names], strict=True):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axis.set_title(name, fontsize=9)
        axis.axis("off")
    for axis, saliency in zip(axes[1:], maps, strict=True):
        axis.imshow(saliency[grid.cell].numpy(), cmap="magma", alpha=0.6)
    figure.tight_layout()
    return figure
