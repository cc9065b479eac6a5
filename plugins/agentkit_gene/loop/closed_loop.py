"""The loop: ask a picker for a batch, tell it the results, again; its state is JSON and resumes to the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from agentkit import Unit
from agentkit.errors import ParamError
from agentkit_gene.loop.errors import LoopStateError
from agentkit_gene.loop.feedback import Feedback
from agentkit_gene.loop.metrics import Judgement, judge
from agentkit_gene.loop.pickers import Picker, Ranking, make_picker, split_name
from agentkit_gene.loop.picks import Dropped, Resolver, fill, validate
from agentkit_gene.loop.proposals import CANDIDATE_SHARE, Proposal
from agentkit_gene.loop.screen import Answers, Library, Screen, View

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agentkit_gene.loop.features import Knowledge

STATE_VERSION = 1
SHOWN_REASONS = 3


@dataclass(frozen=True)
class Pick:
    """One picked gene and why: everything that is needed to say it in a sentence.

    Args:
        gene: the library's symbol.
        position: 1 for the first of the batch.
        score: the picker's final score.
        components: the rank that each component gave it, in [0, 1).
        weights: what each component counts in `score`, by its rank or by the rank's normal score (`Ranking`).
        sets: up to three gene sets that spoke most for it, with their contributions.
        neighbours: up to three tested genes that spoke most for it.
        proposed: whether a proposal named it.
    """

    gene: str
    position: int
    score: float
    components: Mapping[str, float]
    weights: Mapping[str, float]
    sets: tuple[tuple[str, float], ...] = ()
    neighbours: tuple[tuple[str, float], ...] = ()
    proposed: bool = False

    def to_json(self) -> dict[str, Any]:
        """JSON values, one line of `runs.jsonl`."""
        return {
            "gene": self.gene,
            "position": self.position,
            "score": self.score,
            "components": dict(self.components),
            "weights": dict(self.weights),
            "sets": [list(x) for x in self.sets],
            "neighbours": [list(x) for x in self.neighbours],
            "proposed": self.proposed,
        }


@dataclass(frozen=True)
class Batch:
    """What one round asked for, with what was dropped on the way and a note when it is short."""

    round: int
    picks: tuple[Pick, ...]
    dropped: tuple[Dropped, ...] = ()
    note: str = ""

    @property
    def genes(self) -> list[str]:
        """The symbols, best first."""
        return [p.gene for p in self.picks]


class ClosedLoop:
    """Rounds of batches against a screen, a simulation or a real lab.

    Args:
        target: a finished screen, or only a library (then `tell` brings the results).
        picker: who scores the genes.
        rounds: how many batches in all, from 1.
        batch: genes a batch, from 1 to the size of the library.
        unit: the source of all randomness.
        feedback: which tested genes count as hits.
        other_names: upper-cased aliases, each with the approved symbols it may mean (`Knowledge.other_names`).

    A picker is given a `View` of what was told and nothing else; the screen's answers never reach it.
    """

    def __init__(
        self,
        target: Screen | Library,
        picker: Picker,
        rounds: int,
        batch: int,
        unit: Unit,
        *,
        feedback: Feedback | None = None,
        other_names: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.library = target.library if isinstance(target, Screen) else target
        if rounds < 1 or batch < 1:
            raise ParamError(f"rounds={rounds}, batch={batch}: both at least 1")
        if batch > len(self.library):
            raise ParamError(
                f"batch={batch} is more than the {len(self.library)} genes of {self.library.name}"
            )
        self.screen = target if isinstance(target, Screen) else None
        self.picker, self.rounds, self.batch, self.unit = picker, rounds, batch, unit
        self.feedback = feedback or Feedback()
        self.resolver = Resolver(self.library, other_names)
        self.told: list[Answers] = []
        self.asked: list[Batch] = []
        if self.feedback.mode == "hit" and self.screen is not None and not self.screen.has_hits:
            raise ParamError(f"feedback=hit: screen {self.library.name} marks no hit; use feedback=score")

    @property
    def round(self) -> int:
        """The round that `ask` answers next, from 1."""
        return len(self.told) + 1

    @property
    def done(self) -> bool:
        """Whether all rounds are told or nothing is left to test."""
        return len(self.told) >= self.rounds or len(self.tested) >= len(self.library)

    @property
    def tested(self) -> NDArray[np.int64]:
        """Rows of all tested genes in the order told."""
        return self.library.rows([g for answers in self.told for g in answers.genes])

    def view(self, proposal: Proposal | None = None) -> View:
        """What the picker sees now."""
        scores = np.concatenate([np.zeros(0), *(a.scores for a in self.told)])
        known = bool(self.told) and all(a.hits is not None for a in self.told)
        hits = np.concatenate([a.hits for a in self.told if a.hits is not None]) if known else None
        hits = np.zeros(0, dtype=bool) if not self.told else hits
        labels = self.feedback.labels(scores, hits, self.library.direction, self.library.control_scores)
        return View(self.library, self.tested, scores, labels, self.round, self._size(), self.unit, proposal)

    def ask(self, proposal: Proposal | None = None) -> list[str]:
        """The next batch, best first: exactly `batch` untested genes, or all that are left.

        Asking again before telling gives the same batch.

        Raises:
            LoopStateError: when nothing is left to test.
        """
        if len(self.asked) < self.round:
            view = self.view(proposal)
            self._take(view, rankings(self.picker, [view])[0])
        return self.asked[self.round - 1].genes

    def tell(self, answers: Answers) -> None:
        """Take results in; they end the round. Genes that were not asked for are welcome, repeated ones are not.

        Raises:
            LoopStateError: when a gene is not in the library, was told before, or comes twice; nothing is taken.
        """
        resolved: list[str] = []
        known = {g for a in self.told for g in a.genes}
        for name in answers.genes:
            symbol = self.resolver(name)
            if symbol is None:
                near = ", ".join(self.resolver.near(name)) or "none"
                raise LoopStateError(f"{name!r} is not in library {self.library.name}; near names: {near}")
            if symbol in known:
                raise LoopStateError(f"{name!r} has a result already (as {symbol}); average repeats first")
            known.add(symbol)
            resolved.append(symbol)
        self.told.append(Answers(tuple(resolved), answers.scores, answers.hits))
        while len(self.asked) < len(self.told):  # results that nobody asked for
            self.asked.append(Batch(len(self.asked) + 1, (), note="results given, not asked for"))

    def judged(self, truth: Screen) -> Judgement:
        """Hit ratios of the rounds told so far, by the true flags of `truth`."""
        rows = [self.library.rows(a.genes) for a in self.told]
        return judge(rows, truth.true_hits(), self.library.essential_mask)

    def state(self) -> dict[str, Any]:
        """JSON values from which `resume` goes on with the same bits."""
        return {
            "version": STATE_VERSION,
            "library": self.library.sha256,
            "picker": [self.picker.name, self.picker.version],
            "rounds": self.rounds,
            "batch": self.batch,
            "unit": {"index": self.unit.index, "seed": self.unit.seed},
            "feedback": [self.feedback.mode, self.feedback.share, self.feedback.threshold],
            "told": [
                [list(a.genes), a.scores.tolist(), None if a.hits is None else a.hits.tolist()]
                for a in self.told
            ],
            "asked": [_batch_json(b) for b in self.asked],
        }

    @classmethod
    def resume(
        cls,
        state: Mapping[str, Any],
        target: Screen | Library,
        picker: Picker,
        *,
        other_names: Mapping[str, Sequence[str]] | None = None,
    ) -> ClosedLoop:
        """The loop as it was when `state` was taken.

        Raises:
            LoopStateError: when the state belongs to another library, picker or version.
        """
        library = target.library if isinstance(target, Screen) else target
        try:
            if state["version"] != STATE_VERSION:
                raise LoopStateError(f"loop state of version {state['version']}, this is {STATE_VERSION}")
            if state["library"] != library.sha256:
                raise LoopStateError(f"the loop state belongs to another library than {library.name}")
            if state["picker"] != [picker.name, picker.version]:
                raise LoopStateError(
                    f"the loop state was made by picker {state['picker']}, not {picker.name} {picker.version}"
                )
            feedback = Feedback(*state["feedback"])
            loop = cls(
                target, picker, state["rounds"], state["batch"], Unit(**state["unit"]),
                feedback=feedback, other_names=other_names,
            )  # fmt: skip
            loop.told = [
                Answers(tuple(genes), np.array(scores), None if hits is None else np.array(hits, dtype=bool))
                for genes, scores, hits in state["told"]
            ]
            loop.asked = [_batch_of(b) for b in state["asked"]]
        except (KeyError, TypeError, ValueError) as error:
            raise LoopStateError(f"the loop state is damaged ({type(error).__name__}: {error})") from None
        return loop

    def _size(self) -> int:
        return min(self.batch, len(self.library) - len(self.tested))

    def _take(self, view: View, ranking: Ranking) -> None:
        """Turn a ranking into the round's batch."""
        if view.batch == 0:
            raise LoopStateError(f"all {len(self.library)} genes of {self.library.name} are tested")
        places = int(CANDIDATE_SHARE * view.batch)
        wished = view.proposal.candidates if view.proposal else ()
        rows, dropped = validate(wished, view, self.resolver, places) if wished else ([], [])
        proposed = set(rows)
        named, refused = (
            validate([*ranking.names], view, self.resolver, view.batch) if ranking.names else ([], [])
        )
        rows = [*rows, *(r for r in named if r not in proposed)][: view.batch]
        rows = fill(rows, ranking.scores, view)
        hinted = _hinted(view, self.resolver)
        picks = tuple(_pick(view, ranking, row, i + 1, row in hinted) for i, row in enumerate(rows))
        short = f"short: {len(rows)} of {self.batch} were left" if len(rows) < self.batch else ""
        note = "; ".join(x for x in (ranking.note, short) if x)
        self.asked.append(Batch(view.round, picks, (*dropped, *refused), note))


def advance(loops: Sequence[ClosedLoop], proposals: Sequence[Proposal | None] | None = None) -> None:
    """One round of many loops on one library, together: each picker scores all its units in one call.

    Loops of finished screens are asked and told; those of bare libraries are only asked.
    """
    hints = proposals or [None] * len(loops)
    waiting = [(x, p) for x, p in zip(loops, hints, strict=True) if not x.done and len(x.asked) < x.round]
    by_picker: dict[int, list[tuple[ClosedLoop, Proposal | None]]] = {}
    for loop, hint in waiting:
        by_picker.setdefault(id(loop.picker), []).append((loop, hint))
    for group in by_picker.values():
        views = [loop.view(hint) for loop, hint in group]
        for (loop, _), view, ranking in zip(group, views, rankings(group[0][0].picker, views), strict=True):
            loop._take(view, ranking)
    for loop in loops:
        if loop.screen is not None and not loop.done:
            loop.tell(loop.screen.answer(loop.ask()))


def rankings(picker: Picker, views: Sequence[View]) -> list[Ranking]:
    """The picker's rankings, computed on one thread: sums in another order would be other bits."""
    with threadpool_limits(limits=1):
        return picker.propose(views)


def start_loops(
    screen: Screen,
    conditions: Sequence[str],
    units: Sequence[Unit],
    *,
    rounds: int,
    batch: int,
    feedback: Feedback | None = None,
    knowledge: Knowledge | None = None,
    pool: Sequence[Screen] = (),
) -> dict[str, list[ClosedLoop]]:
    """Loops by condition (`NAME` or `NAME!permuted`), one a unit; `advance` them, judge them with `screen`."""
    made: dict[str, Picker] = {}
    loops: dict[str, list[ClosedLoop]] = {}
    names = knowledge.other_names if knowledge is not None else None
    for condition in conditions:
        name, permuted = split_name(condition)
        if name not in made:
            made[name] = make_picker(name, screen.library, knowledge, pool)
        loops[condition] = [
            ClosedLoop(
                screen.permuted(unit) if permuted else screen, made[name], rounds, batch, unit,
                feedback=feedback, other_names=names,
            )
            for unit in units
        ]  # fmt: skip
    return loops


def _hinted(view: View, resolver: Resolver) -> set[int]:
    if view.proposal is None:
        return set()
    found = (resolver(name) for name in (*view.proposal.candidates, *view.proposal.seeds))
    return {view.library.position[s] for s in found if s is not None}


def _pick(view: View, ranking: Ranking, row: int, position: int, proposed: bool) -> Pick:
    reasons = ranking.reasons(row)
    return Pick(
        view.library.symbols[row],
        position,
        float(ranking.scores[row]),
        {name: float(values[row]) for name, values in ranking.components.items()},
        dict(ranking.weights),
        reasons.sets[:SHOWN_REASONS],
        reasons.neighbours[:SHOWN_REASONS],
        proposed,
    )


def _batch_json(batch: Batch) -> dict[str, Any]:
    dropped = [[d.name, d.reason, list(d.near)] for d in batch.dropped]
    return {
        "round": batch.round,
        "picks": [p.to_json() for p in batch.picks],
        "dropped": dropped,
        "note": batch.note,
    }


def _batch_of(value: Mapping[str, Any]) -> Batch:
    picks = tuple(
        Pick(**{**p, "sets": tuple(map(tuple, p["sets"])), "neighbours": tuple(map(tuple, p["neighbours"]))})
        for p in value["picks"]
    )
    dropped = tuple(Dropped(name, reason, tuple(near)) for name, reason, near in value["dropped"])
    return Batch(value["round"], picks, dropped, value["note"])
