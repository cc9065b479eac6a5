"""`prior`, `trees`, `prior+trees` and the default `prior+ens`: the text prior first, then what the results teach.

The learners of the ensemble count the same; the prior counts half once results speak. Where each constant comes from and
which screens were looked at: docs/gene_screens.md.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agentkit_gene.loop import learners
from agentkit_gene.loop.pickers import Ranking, Reasons
from agentkit_gene.loop.prior import Prior
from agentkit_gene.loop.ranks import rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.screen import View

    Floats = NDArray[np.float64]
    Parts = list[tuple[str, float, Floats]]

PRIOR_WEIGHT = 0.5
TRANSFER_WEIGHT = 0.5
PROPOSAL_WEIGHT = 0.5
FEWEST_HITS = 2
"""With fewer hits known there is nothing to learn from, and the prior goes on."""


class PriorPicker:
    """The text prior every round: no feedback."""

    name = "prior"
    version = "1"

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self._priors: dict[str, Prior] = {}

    def propose(self, views: Sequence[View]) -> list[Ranking]:
        """The same ranking in every round, but for proposals."""
        return [self._first(view) for view in views]

    def text_prior(self, view: View) -> Prior:
        """The prior of this view's task, computed once."""
        task = view.library.task
        if task not in self._priors:
            self._priors[task] = Prior(self.knowledge, task)
        return self._priors[task]

    def start(self, view: View) -> Floats:
        """(genes,) the prior before proposals."""
        return self.text_prior(view).value

    def prior(self, view: View) -> Floats:
        """(genes,) the prior, moved towards a proposal's seeds and sets: rank(prior + rank(spread) / 2)."""
        value = self.start(view)
        hinted = hints(self.knowledge, view)
        return value if hinted is None else rank(value + PROPOSAL_WEIGHT * rank(hinted))

    def _first(self, view: View) -> Ranking:
        prior = self.text_prior(view)
        return Ranking.of(
            [("prior", 1.0, self.prior(view))], reasons=lambda row: Reasons(self._text_sets(prior, row))
        )

    def _text_sets(self, prior: Prior, row: int) -> tuple[tuple[str, float], ...]:
        """The gene's sets whose names match the task best."""
        k = self.knowledge
        speaks = prior.similarity**3 / np.sqrt(k.set_sizes + 5)
        return largest(k.membership[row].indices, speaks[k.membership[row].indices], k.set_names)


class EnsemblePicker(PriorPicker):
    """The prior in round 1; later three learners and, by half, the prior, pooled by the normal scores of their ranks.

    It learns from hits and near hits (`learners.near_hits`): with the few hits of a first batch alone there would be
    nothing to learn from.

    Args:
        knowledge: features, sets and graph of the library.
        transfer: (genes,) a prior from other studies, for `xprior+ens`.
    """

    version = "4"

    def __init__(self, knowledge: Knowledge, transfer: Floats | None = None) -> None:
        super().__init__(knowledge)
        self.transfer = transfer
        self.name = "prior+ens" if transfer is None else "xprior+ens"

    def start(self, view: View) -> Floats:
        """The text prior, or rank(rank(text) + rank(transfer))."""
        if self.transfer is None:
            return super().start(view)
        return rank(rank(self.text_prior(view).text) + rank(self.transfer))

    def propose(self, views: Sequence[View]) -> list[Ranking]:
        """Each view on its own; only the prior is shared."""
        return [self._one(replace(view, labels=learners.near_hits(view))) for view in views]

    def _one(self, view: View) -> Ranking:
        if blind(view):
            return self._first(view)
        return Ranking.pooled(self.parts(view), reasons=Evidence(self.knowledge, view))

    def parts(self, view: View) -> Parts:
        """(name, weight, ranks) of each component; the view's labels are what is learnt."""
        k, y = self.knowledge, view.labels.astype(np.float64)
        some = learners.at_most(view, learners.GP_MOST)
        forest = learners.extra_trees(k.x, view.tested, view.labels, view.rng("trees"))
        weights = learners.set_weights(k, view.tested, y)
        parts: Parts = [
            ("trees", 1.0, rank(forest)),
            ("gp", 1.0, rank(learners.gp_mean(k.x, view.tested[some], y[some]))),
            ("sets", 1.0, rank(learners.set_scores(k, weights))),
            ("prior", PRIOR_WEIGHT, self.prior(view)),
        ]
        if self.transfer is not None:
            parts.append(("transfer", TRANSFER_WEIGHT, rank(self.transfer)))
        return parts


class Evidence:
    """What spoke for a gene: its sets by their weight, tested (near) hits by their closeness in the Gaussian process."""

    def __init__(self, knowledge: Knowledge, view: View) -> None:
        self.knowledge, self.view = knowledge, view

    @cached_property
    def weights(self) -> Floats:
        """(sets,) as the ensemble has them."""
        return learners.set_weights(self.knowledge, self.view.tested, self.view.labels.astype(np.float64))

    @cached_property
    def width(self) -> float:
        """Of the process's kernel."""
        return learners.kernel_width(self.knowledge.x, self.view.tested)

    def __call__(self, row: int) -> Reasons:
        """The three sets and three tested (near) hits that add most to one gene."""
        k, hits = self.knowledge, self.view.tested[self.view.labels]
        mine = k.membership[row].indices
        near = np.exp(-self.width * learners.squared_distances(k.x, np.array([row]), hits)[0])
        return Reasons(largest(mine, self.weights[mine], k.set_names), largest(hits, near, k.genes))


class TreesPicker(PriorPicker):
    """Extra-trees alone, after a random or a prior round 1."""

    version = "1"

    def __init__(self, knowledge: Knowledge, *, prior: bool) -> None:
        super().__init__(knowledge)
        self.with_prior = prior
        self.name = "prior+trees" if prior else "trees"

    def propose(self, views: Sequence[View]) -> list[Ranking]:
        """P(hit) of the forest; while fewer than two hits are known, the first round's rule."""
        return [self._one(view) for view in views]

    def _one(self, view: View) -> Ranking:
        if blind(view):
            return self._first(view) if self.with_prior else Ranking(view.uniforms("random"))
        forest = learners.extra_trees(self.knowledge.x, view.tested, view.labels, view.rng("trees"))
        return Ranking.of([("trees", 1.0, rank(forest))])


def blind(view: View) -> bool:
    """Whether the results cannot teach yet: fewer than two hits, or nothing but hits."""
    return bool(view.labels.sum() < FEWEST_HITS or view.labels.all())


def hints(knowledge: Knowledge, view: View) -> Floats | None:
    """(genes,) a proposal's seeds spread over the graph, plus the members of its sets; None without any."""
    proposal = view.proposal
    if proposal is None or not (proposal.seeds or proposal.sets):
        return None
    upper = {g.upper(): i for i, g in enumerate(knowledge.genes)}
    others = knowledge.other_names
    v = np.zeros(len(knowledge.genes))
    for name in (s.strip().upper() for s in proposal.seeds):
        meant = [name] if name in upper else [g.upper() for g in others.get(name, ())]
        for gene in meant if len(meant) == 1 else ():
            v[upper[gene]] = 1.0
    wanted = {s.strip().lower() for s in proposal.sets}
    chosen = np.array([n.lower() in wanted for n in knowledge.set_names], dtype=np.float64)
    v = v + knowledge.membership @ (chosen / np.sqrt(knowledge.set_sizes + 5))
    return learners.spread_over(knowledge.propagator, v) if v.any() else None


def largest(rows: NDArray[np.integer], values: Floats, names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """The three largest positive values with their names; ties by name."""
    order = sorted(range(len(rows)), key=lambda i: (-values[i], names[int(rows[i])]))[:3]
    return tuple((names[int(rows[i])], float(values[i])) for i in order if values[i] > 0)
