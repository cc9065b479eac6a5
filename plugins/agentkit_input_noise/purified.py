"""Attacked images cleaned before the classifier, and attacks that climb through the cleaning: the kernel of `noise.purify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agentkit import BASELINE, Measurements
from agentkit_input_noise import attacked, classify, curve_files
from agentkit_input_noise.attack_tool import Attack
from agentkit_input_noise.attacks import Ball, InputGradient
from agentkit_input_noise.curve_files import claim, t_half_width
from agentkit_input_noise.needs import CLASSIFIER, IMAGES, fetch
from agentkit_input_noise.purifiers import purifier
from agentkit_input_noise.sweep import CHANCE, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from agentkit import Context, Metric, Unit
    from agentkit_input_noise.purify_tool import Purify

METRICS = ("accuracy", "l2", "l2_left")
ATTACK, CONTROL, ADAPTIVE = "pgd", "random_sphere", "adaptive"


def measure(params: Purify, units: Sequence[Unit], ctx: Context, metrics: Sequence[Metric]) -> Measurements:
    """All conditions on all units; see the tool's docstring."""
    classifier, data = fetch(ctx, params.target, CLASSIFIER), fetch(ctx, params.data, IMAGES)
    purifiers = {str(name): purifier(name, data) for name in params.purifiers}
    conditions = [c for c in conditions_of(params) if ctx.wants(c)]
    values = np.zeros((len(METRICS), len(units), len(conditions)))
    for u, unit in enumerate(units):
        images, labels = classify.labelled(data, data.draw(unit.rng("items"), params.items))
        if u == 0:
            classify.require_usable(classifier, data, images, ctx.device, ctx.batch)
        sent = sent_in(params, unit, classifier, purifiers, data, images, labels, ctx)
        for c, name in enumerate(conditions):
            cleaner = purifiers.get(name.partition(".")[0])
            seen = sent[name] if cleaner is None else cleaner(sent[name])
            found = classify.logits(classifier, seen, ctx.device, ctx.batch).argmax(dim=1)
            if name == CHANCE:
                found = found[torch.from_numpy(unit.rng("chance").permutation(len(images)))]
            right = float((found == labels).double().mean())
            values[:, u, c] = (right, distance(sent[name], images), distance(seen, images))
        ctx.progress(u + 1, len(units))
    table = Measurements.from_arrays(units, conditions, dict(zip(METRICS, values, strict=True)))
    draw(ctx, params, table, metrics, units)
    return table


def conditions_of(params: Purify) -> list[str]:
    """Every condition: without a purifier, then with each of them."""
    found = [BASELINE, CHANCE, *(name_of(kind, e) for kind in (ATTACK, CONTROL) for e in params.eps)]
    for name in params.purifiers:
        found.append(f"{name}.clean")
        found += [name_of(kind, e) for kind in with_purifier(name) for e in params.eps]
    return found


def with_purifier(name: str) -> tuple[str, str, str]:
    """What is sent through a purifier at every strength: grey-box attack, adaptive attack, control."""
    return f"{name}.{ATTACK}", f"{name}.{ADAPTIVE}", f"{name}.{CONTROL}"


def sent_in(
    params: Purify,
    unit: Unit,
    classifier: Any,
    purifiers: dict[str, Callable[[Tensor], Tensor]],
    data: Any,
    images: Tensor,
    labels: Tensor,
    ctx: Context,
) -> dict[str, Tensor]:
    """One unit's images in every condition that was asked for, before any purifier."""
    attack = Attack(kind=ATTACK, eps=params.eps, norm=params.norm, steps=params.steps, items=params.items)
    sent = dict.fromkeys([BASELINE, CHANCE, *(f"{name}.clean" for name in purifiers)], images)
    for eps in params.eps:
        if not any(ctx.wants(c) for c in conditions_of(params) if c.endswith(name_of("", eps))):
            continue
        plain = attacked.perturbed(attack, unit, classifier, data, images, labels, eps, ctx.device)
        for prefix in ("", *(f"{name}." for name in purifiers)):
            sent |= {name_of(prefix + kind, eps): plain[kind] for kind in (ATTACK, CONTROL)}
        for name, clean in purifiers.items():
            adaptive = name_of(f"{name}.{ADAPTIVE}", eps)
            if ctx.wants(adaptive):
                gradient = InputGradient(lambda x, clean=clean: classifier(clean(x)))
                through = attacked.by_gradient(
                    attack, gradient, images, labels, Ball(params.norm, eps), eps / 4,
                    unit.torch_generator(f"noise.attack.{ATTACK}"), ctx.device,
                )  # fmt: skip
                sent[adaptive] = worse(gradient, plain[ATTACK], through, labels, ctx.device)
    return sent


def worse(gradient: InputGradient, a: Tensor, b: Tensor, labels: Tensor, device: str) -> Tensor:
    """Of two versions of each image, the one of larger loss."""
    losses = [
        torch.nn.functional.cross_entropy(
            classify.logits(gradient.logits, x, device), labels, reduction="none"
        )
        for x in (a, b)
    ]
    return torch.where((losses[1] > losses[0])[:, None, None, None], b, a)


def distance(x: Tensor, images: Tensor) -> float:
    """Mean over items of the L2 distance."""
    return float((x - images).flatten(1).double().norm(dim=1).mean())


def draw(
    ctx: curve_files.Files,
    params: Purify,
    table: Measurements,
    metrics: Sequence[Metric],
    units: Sequence[Unit],
) -> None:
    """Store accuracy with intervals, curves of every purifier, a map, and the claims worth registering."""
    if ctx.conditions is not None or len(units) < curve_files.LEAST_UNITS:
        return
    columns = {name: table.column("accuracy", name) for name in table.conditions}
    levels = {name: float(column.mean()) for name, column in columns.items()}
    rows = {
        name: {"accuracy": levels[name], "half_width_95": t_half_width(column)}
        for name, column in columns.items()
    }
    ctx.artifact("purified.json", rows)
    ctx.artifact("purified.svg", draw_curves(params, rows))
    kinds = [ATTACK, CONTROL, *(kind for name in params.purifiers for kind in with_purifier(name))]
    ctx.artifact(
        "heat.svg", curve_files.draw_heat(table, curve_files.Sweep(kinds, params.eps, metrics[:1]), kinds)
    )
    ctx.artifact("contrasts.json", [
        claim(title, {a: 1.0, b: -1.0}, direction, metrics[0], levels)
        for name in params.purifiers
        for title, a, b, direction in claims(name, params.eps)
    ])  # fmt: skip


def claims(name: str, sizes: Sequence[float]) -> list[tuple[str, str, str, str]]:
    """What is worth asking of a purifier: title, the two conditions that are compared, and the direction."""
    found = [(f"{name} costs accuracy on clean images", f"{name}.clean", BASELINE, "less")]
    for eps in sizes:
        unaware, aware, control = (name_of(kind, eps) for kind in with_purifier(name))
        plain = name_of(ATTACK, eps)
        found += [
            (f"{name} undoes {plain} in a grey box", unaware, plain, "greater"),
            (f"{name} undoes {plain} though the attacker knows of it", aware, plain, "greater"),
            (f"what {name} gains at {eps:g} rests on the attacker not knowing", aware, unaware, "less"),
            (f"{name} leaves more of the attack than of noise of its size at {eps:g}", unaware, control, "less"),
        ]  # fmt: skip
    return found


def draw_curves(params: Purify, rows: dict[str, dict[str, float]]) -> str:
    """One panel a purifier: accuracy by size of the attack without it, in a grey box, adaptive, and under noise."""
    sizes = sorted(params.eps)
    columns = min(3, len(params.purifiers))
    rows_of_panels = -(-len(params.purifiers) // columns)
    with curve_files.svg_figure(columns, rows_of_panels, panel=(3.6 if columns > 1 else 4.6, 3.0)) as (
        panels,
        text,
    ):
        for axes in panels[len(params.purifiers) :]:
            axes.set_axis_off()
        for axes, name in zip(panels, params.purifiers, strict=False):
            unaware, aware, control = with_purifier(name)
            lines = {
                "attacked, not purified": (ATTACK, BASELINE), "grey box: attacker does not know": (unaware, f"{name}.clean"),
                "adaptive: attacker knows": (aware, f"{name}.clean"), "noise of the attack's L2": (control, f"{name}.clean"),
            }  # fmt: skip
            for colour, (label, (kind, start)) in zip(curve_files.COLOURS, lines.items(), strict=False):
                at = [rows[start], *(rows[name_of(kind, e)] for e in sizes)]
                axes.errorbar(
                    [0, *sizes], [r["accuracy"] for r in at], yerr=[r["half_width_95"] for r in at], fmt="o-",
                    ms=3.5, lw=1.2, color=colour, label=label,
                )  # fmt: skip
            axes.axhline(rows[CHANCE]["accuracy"], color="0.6", lw=0.8, ls=":", label="chance")
            axes.set(
                title=name,
                xlabel=f"size of the attack (L{params.norm})",
                ylabel="accuracy (mean, 95 % over units)",
                ylim=(0, 1.02),
            )
    return text.getvalue()
