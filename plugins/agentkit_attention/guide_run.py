"""The body of `attention.guide`: trajectories under guidance, and their scores."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agentkit import BASELINE, Measurements
from agentkit.errors import ParamError, TargetError
from agentkit_attention import image_scores
from agentkit_attention.edits import Condition, Edit, edited_pass, require_reachable
from agentkit_attention.errors import BadSearchError
from agentkit_attention.guide import FD_ITEMS, METRICS
from agentkit_attention.models import describe
from agentkit_attention.techniques import EditState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from agentkit import Context, Unit
    from agentkit_attention.guide import Drawing, Guide
    from agentkit_attention.models import Described
    from agentkit_attention.sites import Head, SiteTable

SHOWN = 12
"""Samples per row of the picture."""


def run(params: Guide, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Draw and score every asked condition on every unit."""
    target = ctx.target(params.target)
    require_drawing(params, target)
    described = describe(target)
    scores = Scores(params, ctx)
    names = [n for n in _names(params, described.table) if ctx.wants(n)]
    values = {m.name: np.full((len(units), 1 + len(names)), np.nan) for m in METRICS}
    for row, unit in enumerate(units):
        sets = condition_sets(params, described.table, unit)
        conditions = [None, *(Condition(n, *sets[n]) for n in names)]
        for asked in names:
            require_reachable(described.table, Condition(asked, *sets[asked]))
        drawn: list[Tensor] = []
        for column, condition in enumerate(conditions):
            if condition is not None and is_idle(params, condition):
                drawn.append(drawn[0])
            else:
                drawn.append(draw(params, target, described, condition, unit))
            for metric, value in scores.of(drawn[-1]).items():
                values[metric][row, column] = value
        if row == 0:
            ctx.artifact("samples.png", sample_sheet(drawn, [BASELINE, *names]))
        ctx.progress(row + 1, len(units))
    table = Measurements.builder(units)
    for metric, array in values.items():
        for row, column in np.argwhere(np.isfinite(array)):
            table.add(units[row], [BASELINE, *names][column], metric, array[row, column])
    return table.build()


def require_drawing(params: Drawing, target: Any) -> None:
    """Refuse a target that cannot draw, or prompts for one that reads none."""
    if hasattr(target, "sample"):
        return
    if not all(hasattr(target, a) for a in ("latents", "times", "velocity", "images")):
        raise TargetError(
            f"{params.target} does not draw; take digits-dit: or diffusers:FOLDER, or an object with .sample, or with "
            ".latents, .times, .velocity and .images"
        )
    if params.prompts is not None:
        raise ParamError(f"{params.target} reads no prompts; give labels (labels: [3]) or neither")
    classes = int(getattr(target, "classes", 0))
    if params.labels and classes and not all(0 <= label < classes for label in params.labels):
        raise ParamError(f"labels {list(params.labels)}: {params.target} draws classes 0 to {classes - 1}")


def condition_sets(
    params: Guide, table: SiteTable, unit: Unit
) -> dict[str, tuple[tuple[Head, ...], str, float]]:
    """Heads, technique and strength of every condition; the random control is this unit's own draw."""
    sets = {name: tuple(table.select(" ".join(heads))) for name, heads in params.sets.items()}
    given = table.select(" ".join(params.given)) if params.given else []
    for head in table.select(params.each) if params.each else []:
        if head not in given:
            sets[head.name] = tuple(sorted({*given, head}))
    if params.random_k:
        if params.random_k > len(table.heads):
            raise BadSearchError(f"random_k {params.random_k}: the target has {len(table.heads)} heads")
        picked = unit.rng("control").choice(len(table.heads), params.random_k, replace=False)
        sets["random_k"] = tuple(table.heads[i] for i in sorted(picked))
    several = len(params.strengths) > 1
    return {
        f"{name}={u:g}" if several else name: (heads, params.technique, u)
        for name, heads in sets.items()
        for u in params.strengths
    }


def _names(params: Guide, table: SiteTable) -> list[str]:
    from agentkit import Unit

    return list(condition_sets(params, table, Unit(index=0, seed=0)))


def is_idle(params: Drawing, condition: Condition) -> bool:
    """Whether guidance cannot change anything, so that the baseline's value is the value."""
    return condition.untouched or params.w == 0 or params.window[0] == params.window[1]


def draw(
    params: Drawing,
    target: Any,
    described: Described,
    condition: Condition | None,
    unit: Unit,
    stream: str = "latents",
) -> Tensor:
    """Images [n, …] in [0, 1] of one condition; all conditions of a unit's stream start from the same noise."""
    if hasattr(target, "sample"):
        return _draw_by_pipeline(params, target, described, condition, unit, stream)
    n = params.n
    labels = _labels(params)
    x = target.latents(unit.torch_generator(stream), n)
    times = target.times(params.steps)
    with torch.no_grad():
        for step, (now, then) in enumerate(itertools.pairwise(times)):
            active = params.window[0] <= step / params.steps < params.window[1]
            guiding = condition if active else None
            x = x + (then - now) * _guided_velocity(params, target, described, guiding, unit, x, now, labels)
    images: Tensor = target.images(x)
    return images


def _draw_by_pipeline(
    params: Drawing, target: Any, described: Described, condition: Condition | None, unit: Unit, stream: str
) -> Tensor:
    """Images of a target that runs its own loop: each call of its model is followed by a perturbed one."""
    with contextlib.ExitStack() as cleanup:
        if condition is not None:
            hook = _Guiding(params, described, condition, unit)
            cleanup.callback(described.model.register_forward_hook(hook, with_kwargs=True).remove)
        images: Tensor = target.sample(
            unit.torch_generator(stream), params.n,
            steps=params.steps, cfg=params.cfg, labels=params.labels, prompts=params.prompts,
        )  # fmt: skip
    return images


class _Guiding:
    """Moves what a model returns to e + w (e - p), where p is the same call with the condition's heads perturbed.

    With classifier-free guidance a pipeline sends 2 n rows and adds cfg (e - e without the prompt) itself, with
    scale 1 + cfg; only the rows that have the prompt are guided, by w / (1 + cfg), so that w means the same.
    """

    def __init__(self, params: Drawing, described: Described, condition: Condition, unit: Unit) -> None:
        self.params, self.described, self.condition, self.unit = params, described, condition, unit
        self.step = 0
        self.inside = False

    def __call__(self, model: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        if self.inside:
            return None
        step, self.step = self.step, self.step + 1
        if not self.params.window[0] <= step / self.params.steps < self.params.window[1]:
            return None
        e = output[0]
        n, rows = self.params.n, len(e)
        classes_first = (
            "class_labels" in kwargs
        )  # DiT's pipeline puts the rows with a class first, the others last
        start = 0 if classes_first or rows == n else rows - n
        edits = [Edit(self.condition, head, start, n) for head in self.condition.heads]
        time = float(torch.as_tensor(kwargs.get("timestep", step)).flatten()[0])
        state = EditState(noise=_noise(self.unit, n, time), image_rows=self.described.rows)
        self.inside = True
        try:
            p = edited_pass(
                self.described.model, self.described.table, edits, lambda: model(*args, **kwargs), state,
                torch.arange(n).roll(1),
            )[0]  # fmt: skip
        finally:
            self.inside = False
        weight = self.params.w / (1 if rows == n else 1 + self.params.cfg)
        moved = e.clone()
        moved[start : start + n] += weight * (e - p)[start : start + n]
        return (moved, *output[1:]) if isinstance(output, tuple) else type(output)(sample=moved)


def _guided_velocity(
    params: Drawing,
    target: Any,
    described: Described,
    condition: Condition | None,
    unit: Unit,
    x: Tensor,
    t: float,
    labels: Tensor | None,
) -> Tensor:
    """Guided velocity e + w (e - p), and cfg (e - e without labels) on top; one pass of the model holds e and p."""
    n = len(x)
    if condition is None:
        guided = e = target.velocity(x, t, labels)
    else:
        both = None if labels is None else labels.repeat(2)
        edits = [Edit(condition, head, n, n) for head in condition.heads]
        out = edited_pass(
            described.model, described.table, edits,
            lambda: target.velocity(torch.cat([x, x]), t, both),
            EditState(noise=_noise(unit, n, t), image_rows=described.rows),
            torch.arange(n).roll(1),
        )  # fmt: skip
        e, p = out[:n], out[n:]
        guided = e + params.w * (e - p)
    if params.cfg > 0:
        guided = guided + params.cfg * (e - target.velocity(x, t, None))
    velocity: Tensor = guided
    return velocity


def _labels(params: Drawing) -> Tensor | None:
    if params.labels is None:
        return None
    return torch.tensor([params.labels[i % len(params.labels)] for i in range(params.n)])


def _noise(unit: Unit, n: int, t: float) -> Any:
    def draw_noise(site: Any, head: int, shape: tuple[int, int]) -> Tensor:
        g = unit.torch_generator(f"noise/{site.module}#{site.call}/h{head}/{t:.6f}")
        return torch.randn(n, *shape, generator=g)

    return draw_noise


@dataclass
class Scores:
    """Scores a unit's images by everything the params name; loads each scorer once."""

    params: Drawing
    ctx: Context

    def __post_init__(self) -> None:
        p = self.params
        self.judge, self.objective = self.ctx.target(p.judge), self.ctx.target(p.objective)
        self.features = self.ctx.target(p.features) if p.features else None
        self.real = None if self.features is None else self.features.features(self.features.reference)
        self.labels = _labels(p)

    def of(self, images: Tensor) -> dict[str, float]:
        """Every metric that applies to these images."""
        p = self.params
        found = {
            "judge": float(image_scores.score_images(self.judge, p.judge, images, self.labels).mean()),
            "objective": float(
                image_scores.score_images(self.objective, p.objective, images, self.labels).mean()
            ),
        }
        with torch.no_grad():
            if hasattr(self.judge, "probabilities"):
                classes = image_scores.class_probabilities(self.judge, images)
                found["inception"] = image_scores.inception_score(classes)
                if self.labels is not None:
                    found["accuracy"] = float((classes.argmax(1) == self.labels).double().mean())
            if self.features is not None and self.real is not None:
                drawn = self.features.features(images)
                found["precision"], found["recall"] = image_scores.precision_recall(self.real, drawn)
                if p.n >= FD_ITEMS:
                    found["fd"] = image_scores.frechet_distance(self.real, drawn)
        return found


def sample_sheet(drawn: Sequence[Tensor], names: Sequence[str]) -> Any:
    """A figure: one row per condition, the same starting noise in each column."""
    from matplotlib.figure import Figure

    rows, columns = len(names), min(SHOWN, len(drawn[0]))
    figure = Figure(figsize=(1.6 + 0.55 * columns, 0.62 * rows + 0.2))
    axes = figure.subplots(rows, columns, squeeze=False)
    for r, (images, name) in enumerate(zip(drawn, names, strict=True)):
        for c in range(columns):
            axes[r, c].imshow(images[c].permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
            axes[r, c].axis("off")
        axes[r, 0].text(-0.3, 0.5, name, transform=axes[r, 0].transAxes, ha="right", va="center", fontsize=8)
    figure.subplots_adjust(left=0.22, right=0.99, top=0.98, bottom=0.02, wspace=0.08, hspace=0.08)
    return figure
