"""Image classification under noise: the kernel of `noise.image`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agentkit import BASELINE, Measurements
from agentkit_input_noise import classify, curve_files, picture_files
from agentkit_input_noise.image_tool import IMAGENET_C, ImageNoise
from agentkit_input_noise.needs import CLASSIFIER, IMAGES, fetch
from agentkit_input_noise.pixels import PixelNoise
from agentkit_input_noise.sweep import CHANCE, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from agentkit import Context, Metric, Unit

METRICS = ("accuracy", "flip_rate", "nll", "linf", "l2")
WITHOUT_LABELS = ("flip_rate", "linf", "l2")


def measure(
    params: ImageNoise, units: Sequence[Unit], ctx: Context, metrics: Sequence[Metric]
) -> Measurements:
    """All conditions on all units; see the tool's docstring."""
    classifier, data = fetch(ctx, params.target, CLASSIFIER), fetch(ctx, params.data, IMAGES)
    cells = {name: cell for name, cell in sweep_of(params).items() if ctx.wants(name)}
    conditions = [BASELINE, *([CHANCE] if ctx.wants(CHANCE) else []), *cells]
    names = METRICS if data.labels is not None else WITHOUT_LABELS
    values = np.zeros((len(names), len(units), len(conditions)))
    shown: dict[str, picture_files.Shown] = {}
    shown_labels: list[int] | None = None
    for u, unit in enumerate(units):
        images, labels = classify.pool(data, data.draw(unit.rng("items"), params.items))
        if u == 0:
            classify.require_usable(classifier, data, images, ctx.device, ctx.batch)
        outputs = {BASELINE: classify.logits(classifier, images, ctx.device, ctx.batch)}
        clean = outputs[BASELINE].argmax(dim=1).numpy()
        outputs[CHANCE] = outputs[BASELINE][torch.from_numpy(unit.rng("chance").permutation(len(images)))]
        sizes = {BASELINE: (0.0, 0.0), CHANCE: (0.0, 0.0)}
        seen = {BASELINE: images, **perturbed(images, cells, unit)}
        for name, noisy in seen.items():
            if name != BASELINE:
                outputs[name] = classify.logits(classifier, noisy, ctx.device, ctx.batch)
                sizes[name] = measured_size(noisy, images)
        if unit.index == 0:
            shown = {name: picture_files.some(noisy, outputs[name]) for name, noisy in seen.items()}
            shown_labels = None if labels is None else labels.tolist()
        for c, name in enumerate(conditions):
            told = (
                (classify.flip_rate(outputs[name], clean),)
                if labels is None
                else classify.scores(outputs[name], labels, clean)
            )
            values[:, u, c] = (*told, *sizes[name])
        ctx.progress(u + 1, len(units))
    table = Measurements.from_arrays(units, conditions, dict(zip(names, values, strict=True)))
    draw(ctx, params, table, metrics, units)
    picture_files.write_images(ctx, shown, shown_labels)
    return table


def sweep_of(params: ImageNoise) -> dict[str, tuple[str, float]]:
    """Kind and strength of every condition but `baseline` and `chance`."""
    return {name_of(k, s): (k, s) for k in pixel_kinds(params) for s in params.strengths} | {
        name_of(k, s): (k, float(s))
        for k in params.kinds
        if k.startswith(IMAGENET_C)
        for s in params.severities
    }


def pixel_kinds(params: ImageNoise) -> list[str]:
    """Our own kinds that were asked for, and the plain arm where its weighted twin was."""
    kinds = [k for k in params.kinds if not k.startswith(IMAGENET_C)]
    return kinds + ["gaussian"] * ("edge_weighted" in kinds and "gaussian" not in kinds)


def perturbed(images: Tensor, cells: dict[str, tuple[str, float]], unit: Unit) -> dict[str, Tensor]:
    """The unit's images in every condition."""
    found: dict[str, Tensor] = {}
    noise: dict[str, Any] = {}
    for name, (kind, strength) in cells.items():
        if kind.startswith(IMAGENET_C):
            from agentkit_input_noise.corruptions import corrupted

            found[name] = corrupted(images, kind.removeprefix(IMAGENET_C), int(strength), unit)
            continue
        if kind not in noise:
            noise[kind] = PixelNoise(images, kind, unit)
        found[name] = noise[kind].at(strength)
    return found


def measured_size(noisy: Tensor, images: Tensor) -> tuple[float, float]:
    """Largest change of any value, and mean over items of the change's L2 norm."""
    change = (noisy - images).flatten(1).double()
    return float(change.abs().max()), float(change.norm(dim=1).mean())


def draw(
    ctx: curve_files.Files,
    params: ImageNoise,
    table: Measurements,
    metrics: Sequence[Metric],
    units: Sequence[Unit],
) -> None:
    """Store curves, claims and measured strengths of a whole exploration."""
    drawn = [m for m in metrics if m.name in ("accuracy", "flip_rate") and m.name in table.metrics]
    kinds = pixel_kinds(params)
    controls = {"edge_weighted": "gaussian"} if "edge_weighted" in kinds else {}
    curve_files.write(ctx, table, units, curve_files.Sweep(kinds, params.strengths, drawn, controls))
    write_strength(ctx, table, {name: strength for name, (_, strength) in sweep_of(params).items()})


def write_strength(ctx: curve_files.Files, table: Measurements, requested: dict[str, float]) -> None:
    """Store requested beside measured strength (means over units of `linf` and `l2`) of a whole exploration."""
    if ctx.conditions is None:
        ctx.artifact("strength.json", [
            {"condition": name, "requested": strength,
             **{m: float(table.column(m, name).mean()) for m in ("linf", "l2")}}
            for name, strength in requested.items()
        ])  # fmt: skip
