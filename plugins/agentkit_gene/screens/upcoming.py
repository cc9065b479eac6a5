"""`gene.next`: the next batch for a lab, from its library, its task and its results so far."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit import BASELINE, Measurements
from agentkit_gene.loop.closed_loop import ClosedLoop
from agentkit_gene.loop.feedback import Feedback
from agentkit_gene.loop.pickers import make_picker
from agentkit_gene.loop.proposals import Proposal
from agentkit_gene.loop.ranks import rank
from agentkit_gene.loop.screen import Answers
from agentkit_gene.screens.evidence import round_page, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit import Context, Unit
    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.pickers import Picker, Ranking
    from agentkit_gene.loop.screen import Library, View
    from agentkit_gene.screens.params import NextParams

PRIOR = "prior"
"""The picker behind `baseline`: what was known before the first result."""


class Listening:
    """A picker that also keeps its last ranking, to say how much its components agree."""

    def __init__(self, picker: Picker) -> None:
        self._picker = picker
        self.name, self.version = picker.name, picker.version
        self.last: Ranking | None = None

    def propose(self, views: Sequence[View]) -> list[Ranking]:
        """What the picker says."""
        found = self._picker.propose(views)
        self.last = found[-1]
        return found


def run_next(params: NextParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """`gene.next`."""
    target = ctx.target(params.target)
    library = _as_asked(target.library(), params)
    told = _rounds_of(params, ctx)
    files = [ctx.target(uri) for uri in params.features]
    knowledge = target.knowledge(library, units[0], files, allow_low=params.allow_low_coverage)
    names = {BASELINE: PRIOR, params.picker: params.picker}
    builder = Measurements.builder(units)
    for i, unit in enumerate(units):
        for condition, picker in names.items():
            if ctx.wants(condition):
                loop, listening = _asked(params, library, knowledge, told, picker, unit)
                batch = loop.asked[-1]
                builder.add(unit, condition, "picks", float(len(batch.picks)))
                if (agreement := _agreement(listening.last)) is not None:
                    builder.add(unit, condition, "agreement", agreement)
                _store(ctx, loop, picker if condition == BASELINE else condition, unit, condition == BASELINE)
        ctx.progress(i + 1, len(units))
    return builder.build()


def _as_asked(library: Library, params: NextParams) -> Library:
    told: dict[str, Any] = {"task": params.task} if params.task else {}
    told |= {"direction": params.direction} if params.direction else {}
    return replace(library, **told) if told else library


def _rounds_of(params: NextParams, ctx: Context) -> list[Answers]:
    """Results round by round; a file is one round."""
    if isinstance(params.results, str):
        return [ctx.target(params.results).answers()] if params.results else []
    rounds: dict[int, list[Any]] = {}
    for row in params.results:
        rounds.setdefault(row.round, []).append(row)
    return [answers_of(rows) for _, rows in sorted(rounds.items())]


def answers_of(rows: Sequence[Any]) -> Answers:
    """Rows with gene, score and hit; hits count as known when every row says it."""
    called = all(row.hit is not None for row in rows)
    return Answers(
        tuple(row.gene for row in rows),
        np.array([row.score for row in rows], dtype=np.float64),
        np.array([bool(row.hit) for row in rows]) if called else None,
    )


def _asked(
    params: NextParams, library: Library, knowledge: Knowledge, told: Sequence[Answers], name: str, unit: Unit
) -> tuple[ClosedLoop, Listening]:
    """A loop told everything so far and asked for the next batch."""
    picker = Listening(make_picker(name, library, knowledge))
    batch = library.auto_batch() if params.batch is None else params.batch
    feedback = Feedback(params.feedback, params.quantile, params.threshold)
    loop = ClosedLoop(
        library, picker, len(told) + 1, batch, unit, feedback=feedback, other_names=knowledge.other_names
    )
    for answers in told:
        loop.tell(answers)
    loop.ask(proposal_of(params))
    return loop, picker


def proposal_of(params: NextParams) -> Proposal | None:
    """The proposal in the params, as the loop knows it."""
    p = params.proposals
    return None if p is None else Proposal(tuple(p.seeds), tuple(p.sets), tuple(p.candidates), p.why)


def _agreement(ranking: Ranking | None) -> float | None:
    """Mean rank correlation of all pairs of components, mapped by (rho + 1) / 2; None for fewer than two."""
    parts = [] if ranking is None else [rank(v) for v in ranking.components.values()]
    varied = [p for p in parts if p.std() > 0]
    if len(varied) < 2:
        return None
    rhos = [float(np.corrcoef(a, b)[0, 1]) for a, b in itertools.combinations(varied, 2)]
    return min(1.0, max(0.0, (float(np.mean(rhos)) + 1) / 2))


def _store(ctx: Context, loop: ClosedLoop, picker: str, unit: Unit, baseline: bool) -> None:
    """The ranked table, the same with every number, and the page of the round."""
    name = f"{'baseline' if baseline else 'picks'}-u{unit.index}"
    batch = loop.asked[-1]
    ctx.artifact(f"{name}.csv", table(batch, picker))
    if not baseline:
        content = {
            "round": batch.round,
            "picker": [picker, loop.picker.version],
            "library": loop.library.sha256,
            "picks": [p.to_json() for p in batch.picks],
            "dropped": [[d.name, d.reason, list(d.near)] for d in batch.dropped],
            "note": batch.note,
        }
        ctx.artifact(f"evidence-u{unit.index}.json", content)
        ctx.artifact(f"round{batch.round:02d}-u{unit.index}.txt", round_page(batch, picker))
