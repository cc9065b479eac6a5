"""`gene.loop`: pickers replayed against a finished or simulated screen, judged by its true hits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit import BASELINE, Measurements
from agentkit.errors import ToolError
from agentkit_gene.loop.closed_loop import ClosedLoop, advance
from agentkit_gene.loop.feedback import Feedback
from agentkit_gene.loop.pickers import make_picker, split_name
from agentkit_gene.screens import figures
from agentkit_gene.screens.evidence import round_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agentkit import Context, Unit
    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.metrics import Judgement
    from agentkit_gene.loop.pickers import Picker
    from agentkit_gene.loop.screen import Library, Screen
    from agentkit_gene.screens.params import LoopParams
    from agentkit_gene.screens.target import ScreenTarget

CHANCE = "random"
"""The picker behind `baseline`."""
SHOWN_PICKS = 12
"""Picks written out a page; runs.json has them all."""


@dataclass(frozen=True)
class Replayed:
    """One finished loop of one unit and condition, with the screen that judges it and notes about its features."""

    unit: Unit
    condition: str
    loop: ClosedLoop
    screen: Screen
    notes: tuple[str, ...] = ()

    @property
    def judgement(self) -> Judgement:
        """Hit ratios by the true flags, whatever the picker was told."""
        return self.loop.judged(self.screen)


def run_loop(params: LoopParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """`gene.loop`."""
    target: ScreenTarget = ctx.target(params.target)
    names = [BASELINE, *(name for name in params.conditions if ctx.wants(name))]
    groups = [[u] for u in units] if target.each_unit else [list(units)]
    done: list[Replayed] = []
    for i, group in enumerate(groups):
        done += _replay(params, target, names, group, ctx, _ticks(ctx, i, len(groups)))
    measured = _measured(done, units, names)
    _store(ctx, done, names)
    return measured


def _replay(
    params: LoopParams,
    target: ScreenTarget,
    names: Sequence[str],
    units: Sequence[Unit],
    ctx: Context,
    tick: Callable[[int, int], None],
) -> list[Replayed]:
    """All pickers and units that share a library, round by round together."""
    screens = [_as_asked(target.screen(unit), params) for unit in units]
    library = screens[0].library
    for screen in screens:
        screen.true_hits()  # without hits there is no ratio; say so before anything runs
    knowledge = None
    if any(split_name(name)[0] not in (BASELINE, CHANCE) for name in names):
        files = [ctx.target(uri) for uri in params.features]
        knowledge = target.knowledge(library, units[0], files, allow_low=params.allow_low_coverage)
    feedback = Feedback(params.feedback, params.quantile, params.threshold)
    pickers = _pickers(names, library, knowledge, params, units[0], ctx)
    batch = library.auto_batch() if params.batch is None else params.batch
    other_names = knowledge.other_names if knowledge is not None else None
    notes = knowledge.notes if knowledge is not None else ()
    done = [
        Replayed(unit, name, ClosedLoop(
            screen.permuted(unit) if split_name(name)[1] else screen, pickers[split_name(name)[0]], params.rounds, batch, unit,
            feedback=feedback, other_names=other_names,
        ), screen, notes)
        for name in names
        for unit, screen in zip(units, screens, strict=True)
    ]  # fmt: skip
    for r in range(params.rounds):
        if ctx.cancelled:
            raise ToolError(
                "cancelled between rounds; the same job gives the same picks when it is run again"
            )
        advance([d.loop for d in done])
        tick(r + 1, params.rounds)
    return done


def _as_asked(screen: Screen, params: LoopParams) -> Screen:
    """The screen with the task and the direction that the params name."""
    told: dict[str, Any] = {"task": params.task} if params.task else {}
    told |= {"direction": params.direction} if params.direction else {}
    return replace(screen, library=replace(screen.library, **told)) if told else screen


def _pickers(
    names: Sequence[str],
    library: Library,
    knowledge: Knowledge | None,
    params: LoopParams,
    unit: Unit,
    ctx: Context,
) -> dict[str, Picker]:
    """One picker a name; `baseline` is the random one."""
    pool = [ctx.target(uri).screen(unit) for uri in params.studies]
    made: dict[str, Picker] = {}
    for name in {split_name(n)[0] for n in names}:
        made[name] = make_picker(CHANCE if name == BASELINE else name, library, knowledge, pool)
    return made


def _measured(done: Sequence[Replayed], units: Sequence[Unit], names: Sequence[str]) -> Measurements:
    found = {(d.unit.index, d.condition): d.judgement for d in done}
    builder = Measurements.builder(units)
    for unit in units:
        for name in names:
            judgement = found[unit.index, name]
            builder.add(unit, name, "hit_ratio", judgement.hit_ratio)
            if judgement.hit_ratio_nonessential is not None:
                builder.add(unit, name, "hit_ratio_nonessential", judgement.hit_ratio_nonessential)
            builder.add(unit, name, "auc", judgement.auc)
            builder.add(unit, name, "hits", float(judgement.hits))
    return builder.build()


def _store(ctx: Context, done: Sequence[Replayed], names: Sequence[str]) -> None:
    """Tables and pictures of all units; a page a round of the first one."""
    curves = {n: np.array([d.judgement.curve for d in done if d.condition == n]) for n in names}
    outside = [[d.judgement.curve_nonessential for d in done if d.condition == n] for n in names]
    known = {
        n: np.array([c for c in cs if c is not None])
        for n, cs in zip(names, outside, strict=True)
        if all(c is not None for c in cs)
    }
    ctx.artifact("runs.json", [row for d in done for row in _pick_rows(d)])
    ctx.artifact("summary.csv", _summary(curves, known))
    ctx.artifact("curves.png", figures.curves(curves))
    ctx.artifact("bars.png", figures.bars(curves, known))
    first = min(d.unit.index for d in done)
    ctx.artifact("report.txt", _table(curves, known) + "\n" + _notes(done, first))
    for replayed in done:
        if replayed.unit.index == first and replayed.condition != BASELINE:
            for name, page in _pages(replayed):
                ctx.artifact(name, page)


def _pick_rows(done: Replayed) -> list[dict[str, Any]]:
    hits = done.screen.true_hits()
    position = done.screen.library.position
    return [
        {
            "unit": done.unit.index, "condition": done.condition, "round": batch.round, **pick.to_json(),
            "told": float(answers.scores[i]), "hit": bool(hits[position[pick.gene]]),
        }
        for batch, answers in zip(done.loop.asked, done.loop.told, strict=True)
        for i, pick in enumerate(batch.picks)
    ]  # fmt: skip


def _summary(curves: dict[str, Any], known: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, values in curves.items():
        for r in range(values.shape[1]):
            row = {"condition": name, "round": r + 1, "units": len(values), "hit_ratio": values[:, r].mean()}
            row |= {"sd": _sd(values[:, r])}
            if name in known:
                row |= {
                    "hit_ratio_nonessential": known[name][:, r].mean(),
                    "sd_nonessential": _sd(known[name][:, r]),
                }
            rows.append(row)
    return rows


def _table(curves: dict[str, Any], known: dict[str, Any]) -> str:
    """Mean share of hits found, picker by picker and round by round; in brackets without core-essential genes."""
    width = max(len(_shown(name)) for name in curves)
    rounds = next(iter(curves.values())).shape[1]
    cell = 15 if known else 7
    lines = [
        "Share of all hits found by round" + (" (non-essential)" if known else "") + ", mean over units",
        "",
    ]
    lines.append(" " * width + "".join(f"{r + 1:>{cell}}" for r in range(rounds)))
    for name, values in curves.items():
        means = [f"{v:.3f}" for v in values.mean(axis=0)]
        if name in known:
            means = [f"{m} ({v:.3f})" for m, v in zip(means, known[name].mean(axis=0), strict=True)]
        lines.append(f"{_shown(name):{width}}" + "".join(f"{m:>{cell}}" for m in means))
    return "\n".join([*lines, ""])


def _shown(name: str) -> str:
    return CHANCE if name == BASELINE else name


def _sd(values: Any) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _notes(done: Sequence[Replayed], first: int) -> str:
    """What the first unit's screen was asked, what its features say of themselves, and what the numbers are not."""
    shown = next(d for d in done if d.unit.index == first)
    lines = [
        f"Screen {shown.screen.library.name}; task: {shown.screen.library.task or 'not given'}",
        *shown.notes,
    ]
    lines.append("A pick is a suggestion and a hit flag is no mechanism; these numbers describe this screen.")
    return "\n".join([*lines, ""])


def _pages(done: Replayed) -> Iterator[tuple[str, str]]:
    """(file name, text) of every round of one loop."""
    hits, position = done.screen.true_hits(), done.screen.library.position
    for batch, ratio in zip(done.loop.asked, done.judgement.curve, strict=True):
        found = [g for g in batch.genes if hits[position[g]]]
        yield (
            f"{done.condition}-round{batch.round:02d}.txt",
            round_page(batch, done.condition, found, float(ratio), SHOWN_PICKS),
        )


def _ticks(ctx: Context, group: int, groups: int) -> Callable[[int, int], None]:
    return lambda done, total: ctx.progress(group * total + done, groups * total)
