"""The body of `attention.hunt`: a race over heads inside a unit, then fresh samples of what it found."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import torch

from agentkit import BASELINE, Measurements
from agentkit_attention import image_scores
from agentkit_attention.edits import Condition, Edit, edited_pass, require_reachable
from agentkit_attention.errors import BadSearchError
from agentkit_attention.guide_run import Scores, draw, is_idle, require_drawing, sample_sheet
from agentkit_attention.headhunter import ranking, rung_units
from agentkit_attention.models import describe
from agentkit_attention.pictures import trade_off
from agentkit_attention.technique_table import technique_info
from agentkit_attention.techniques import EditState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from agentkit import Context, Unit
    from agentkit_attention.hunt import HuntHeads
    from agentkit_attention.models import Described
    from agentkit_attention.sites import Head

ETA = 3
"""How sharply the race narrows."""


def run(params: HuntHeads, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Search and judge on every unit; every head that was tried is in the table."""
    target = ctx.target(params.target)
    require_drawing(params, target)
    described = describe(target)
    pool = described.table.select(params.sites)
    if params.k > len(pool):
        raise BadSearchError(f"k {params.k}: {params.sites!r} names {len(pool)} heads of {params.target}")
    technique_info(params.technique).check(params.u_search)
    for head in pool:
        require_reachable(described.table, Condition(head.name, (head,), params.technique, params.u_search))
    scores = Scores(params, ctx)
    table, tried = Measurements.builder(units), []
    for done, unit in enumerate(units):
        gains, found = search(params, target, described, pool, unit, scores)
        tried += [
            {"unit": unit.index, "head": h, "gain": g, "samples": n, "hunted": h in [f.name for f in found]}
            for h, (g, n) in gains.items()
        ]
        table.add(unit, BASELINE, "search_gain", 0.0)
        for name, (gain, _) in gains.items():
            if ctx.wants(name):
                table.add(unit, name, "search_gain", gain)
        conditions = {n: c for n, c in judged(params, pool, found, unit).items() if ctx.wants(n)}
        drawn = [draw(params, target, described, None, unit)]
        for condition in conditions.values():
            idle = is_idle(params, condition)
            drawn.append(drawn[0] if idle else draw(params, target, described, condition, unit))
        for name, images in zip([BASELINE, *conditions], drawn, strict=True):
            for metric, value in scores.of(images).items():
                table.add(unit, name, metric, value)
        if done == 0:
            ctx.artifact("samples.png", sample_sheet(drawn, [BASELINE, *conditions]))
        ctx.progress(done + 1, len(units))
    ctx.artifact("hunt.csv", tried)
    built = table.build()
    if (figure := trade_off(built)) is not None:
        ctx.artifact("trade-off.svg", figure)
    return built


def judged(
    params: HuntHeads, pool: Sequence[Head], found: Sequence[Head], unit: Unit
) -> dict[str, Condition]:
    """What is judged on fresh samples: the find and this unit's random heads, at every strength."""
    picked = unit.rng("control").choice(len(pool), params.k, replace=False)
    sets = {"hunted": tuple(sorted(found)), "random_k": tuple(pool[i] for i in sorted(picked))}
    several = len(params.strengths) > 1
    names = {(s, u): f"{s}={u:g}" if several else s for s in sets for u in params.strengths}
    return {name: Condition(name, sets[s], params.technique, u) for (s, u), name in names.items()}


def search(
    params: HuntHeads, target: Any, described: Described, pool: Sequence[Head], unit: Unit, scores: Scores
) -> tuple[dict[str, tuple[float, int]], list[Head]]:
    """Mean gain and number of samples of every head, and the best k of those measured on all samples."""
    gains: dict[str, list[float]] = {h.name: [] for h in pool}
    order, alive, done = [h.name for h in pool], list(pool), 0
    for rung, goal in enumerate(rung_units(params.search_n, ETA)):
        part = params.model_copy(update={"n": goal - done})
        drawn = draw_each(part, target, described, alive, unit, f"search/{rung}")
        worth = [_objective(part, scores, images) for images in drawn]
        for head, values in zip(alive, worth[1:], strict=True):
            gains[head.name] += (values - worth[0]).tolist()
        done = goal
        keep = params.k if done == params.search_n else max(2 * params.k, math.ceil(len(alive) / ETA))
        best = [c.head for c in ranking({h.name: gains[h.name] for h in alive}, order)[:keep]]
        alive = sorted((h for h in alive if h.name in best), key=lambda h: best.index(h.name))
    return {h: (math.fsum(g) / len(g), len(g)) for h, g in gains.items()}, alive


def _objective(params: HuntHeads, scores: Scores, images: Tensor) -> Tensor:
    labels = None if params.labels is None else torch.tensor(
        [params.labels[i % len(params.labels)] for i in range(len(images))]
    )  # fmt: skip
    return image_scores.score_images(scores.objective, params.objective, images, labels)


def draw_each(
    params: HuntHeads, target: Any, described: Described, heads: Sequence[Head], unit: Unit, stream: str
) -> list[Tensor]:
    """Images without guidance, then guided by each head alone, all from the same noise."""
    conditions = [Condition(h.name, (h,), params.technique, params.u_search) for h in heads]
    plain = draw(params, target, described, None, unit, stream)
    if hasattr(target, "sample") or params.cfg > 0 or params.window != (0, 1) or params.technique == "noise":
        return [plain, *(draw(params, target, described, c, unit, stream) for c in conditions)]
    return [plain, *_abreast(params, target, described, conditions, unit, stream)]


def _abreast(
    params: HuntHeads,
    target: Any,
    described: Described,
    conditions: Sequence[Condition],
    unit: Unit,
    stream: str,
) -> list[Tensor]:
    """All conditions side by side: one pass of the model a step holds every e and every p."""
    n, count = params.n, len(conditions)
    rows = n * count
    labels = None
    if params.labels is not None:
        labels = torch.tensor([params.labels[i % len(params.labels)] for i in range(n)]).repeat(2 * count)
    x = target.latents(unit.torch_generator(stream), n).repeat(count, *(1,) * 3)
    edits = [Edit(c, c.heads[0], rows + i * n, n) for i, c in enumerate(conditions)]
    state = EditState(image_rows=described.rows)
    with torch.no_grad():
        for now, then in itertools.pairwise(target.times(params.steps)):
            out = edited_pass(
                described.model, described.table, edits,
                lambda now=now, x=x: target.velocity(torch.cat([x, x]), now, labels),  # type: ignore[misc]
                state, torch.arange(n).roll(1),
            )  # fmt: skip
            e, p = out[:rows], out[rows:]
            x = x + (then - now) * (e + params.w * (e - p))
    images: Tensor = target.images(x)
    return [images[i * n : (i + 1) * n] for i in range(count)]
