"""Attacked images and their controls: the kernel of `noise.attack`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agentkit import BASELINE, Measurements
from agentkit.errors import ParamError
from agentkit_input_noise import art_attacks, attacks, classify, curve_files, picture_files
from agentkit_input_noise.addresses import draw as draw_items
from agentkit_input_noise.attacks import Ball, InputGradient
from agentkit_input_noise.images import measured_size, write_strength
from agentkit_input_noise.needs import CLASSIFIER, IMAGES, fetch
from agentkit_input_noise.sweep import CHANCE, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from agentkit import Context, Metric, Unit
    from agentkit_input_noise.attack_tool import Attack

METRICS = ("accuracy", "flip_rate", "loss", "linf", "l2")
WITHOUT_LABELS = METRICS[1:]
CONTROLS = ("random_sign", "random_sphere")
MOST_ROWS = 128
"""Rows of a gradient."""


def measure(params: Attack, units: Sequence[Unit], ctx: Context, metrics: Sequence[Metric]) -> Measurements:
    """All conditions on all units; see the tool's docstring."""
    classifier, data = fetch(ctx, params.target, CLASSIFIER), fetch(ctx, params.data, IMAGES)
    kinds = (params.kind, *CONTROLS)
    cells = [(kind, eps) for kind in kinds for eps in params.eps]
    conditions = [BASELINE, CHANCE, *(name_of(*cell) for cell in cells)]
    conditions = [c for c in conditions if ctx.wants(c)]
    if data.labels is None and params.kind == "uap":
        raise ParamError(
            "uap learns from labelled train images, and this data set has no labels; use another attack"
        )
    names = METRICS if data.labels is not None else WITHOUT_LABELS
    values = np.zeros((len(names), len(units), len(conditions)))
    shown: dict[str, picture_files.Shown] = {}
    shown_labels: list[int] = []
    for u, unit in enumerate(units):
        images, given = classify.pool(data, data.draw(unit.rng("items"), params.items))
        if u == 0:
            classify.require_usable(classifier, data, images, ctx.device, ctx.batch)
        outputs = {BASELINE: classify.logits(classifier, images, ctx.device, ctx.batch)}
        clean = outputs[BASELINE].argmax(dim=1)
        labels = clean if given is None else given
        outputs[CHANCE] = outputs[BASELINE][torch.from_numpy(unit.rng("chance").permutation(len(images)))]
        sizes = {BASELINE: (0.0, 0.0), CHANCE: (0.0, 0.0)}
        if unit.index == 0:
            shown[BASELINE], shown_labels = picture_files.some(images, outputs[BASELINE]), labels.tolist()
        for eps in params.eps:
            if not any(ctx.wants(name_of(kind, eps)) for kind in kinds):
                continue
            for kind, moved in perturbed(
                params, unit, classifier, data, images, labels, eps, ctx.device
            ).items():
                name = name_of(kind, eps)
                outputs[name] = classify.logits(classifier, moved, ctx.device, ctx.batch)
                sizes[name] = measured_size(moved, images)
                if unit.index == 0:
                    shown[name] = picture_files.some(moved, outputs[name])
        for c, name in enumerate(conditions):
            told = classify.scores(outputs[name], labels, clean.numpy())
            values[:, u, c] = (*told, *sizes[name])[-len(names) :]
        ctx.progress(u + 1, len(units))
    table = Measurements.from_arrays(units, conditions, dict(zip(names, values, strict=True)))
    draw(ctx, params, table, metrics, units)
    picture_files.write_images(ctx, shown, shown_labels)
    return table


def draw(
    ctx: curve_files.Files,
    params: Attack,
    table: Measurements,
    metrics: Sequence[Metric],
    units: Sequence[Unit],
) -> None:
    """Store curves, claims and measured strengths of a whole exploration, the control of the attack's norm as a band."""
    drawn = [m for m in metrics if m.name in ("accuracy", "flip_rate") and m.name in table.metrics]
    controls = {str(params.kind): "random_sign" if params.norm_of_eps == "inf" else "random_sphere"}
    kinds = (params.kind, *CONTROLS)
    curve_files.write(ctx, table, units, curve_files.Sweep(kinds, params.eps, drawn, controls))
    write_strength(ctx, table, {name_of(kind, eps): eps for kind in kinds for eps in params.eps})


def perturbed(
    params: Attack,
    unit: Unit,
    classifier: Any,
    data: Any,
    images: Tensor,
    labels: Tensor,
    eps: float,
    device: str,
) -> dict[str, Tensor]:
    """One unit's images after the attack and after both controls, by kind.

    Start and coin tosses are drawn afresh from the same stream for every eps, so they are the same ones.
    """
    ball = Ball(params.norm, eps)
    step = eps / 4 if params.step is None else params.step
    gradient = InputGradient(classifier)
    stream = unit.torch_generator(f"noise.attack.{params.kind}")
    if params.kind == "uap":
        seen = draw_items(unit.rng("learn"), data.train, params.learn, what="train images")
        x, y = classify.labelled(data, seen)
        learnt = attacks.universal(gradient, x.to(device), y.to(device), ball, step=step, generator=stream)
        gradient.require_felt()
        moved = (images + learnt.cpu()).clamp(0, 1)
    elif params.backend == "art":
        moved = art_attacks.attacked(params, gradient, images, labels, ball, step, stream, device)
    else:
        moved = by_gradient(params, gradient, images, labels, ball, step, stream, device)
    size = eps if params.norm_of_eps == "inf" else attacks.largest_change(images, moved)
    sign = attacks.random_sign(images, size, unit.torch_generator("noise.attack.random_sign"))
    sphere = attacks.random_sphere(images, moved, unit.torch_generator("noise.attack.random_sphere"))
    return {params.kind: moved, "random_sign": sign, "random_sphere": sphere}


def by_gradient(
    params: Attack,
    gradient: InputGradient,
    images: Tensor,
    labels: Tensor,
    ball: Ball,
    step: float,
    stream: torch.Generator,
    device: str,
) -> Tensor:
    """FGSM, PGD or a shift, in batches that fit into memory."""
    done, rows = [], classify.rows_for(images, MOST_ROWS)
    for some, theirs in zip(torch.split(images, rows), torch.split(labels, rows), strict=True):
        x, y = some.to(device), theirs.to(device)
        if params.kind == "fgsm":
            moved = attacks.fgsm(gradient, x, y, ball)
        elif params.kind == "gradient_shift":
            moved = attacks.gradient_shift(gradient, x, y, ball.eps)
        else:
            moved = attacks.pgd(
                gradient,
                x,
                y,
                ball,
                step=step,
                steps=params.steps,
                restarts=params.restarts,
                generator=stream,
            )
        done.append(moved.cpu())
    gradient.require_felt()
    return torch.cat(done)
