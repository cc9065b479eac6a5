"""Campaigns of FalseDiscoveryBench through the real ledger: frozen specs, derived seeds, chain, rules, verdict rows.

The same campaign is computed again from the same seeds by the vectorised rule of `false_discovery_guards.py`; every
label, unit count, log e, k* and level must be equal.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from false_discovery_guards import Bools, Floats, Ints, ledger_rule, next_claim
from false_discovery_worlds import Search, World

from agentkit import Context, Metric, Params, Unit, tool
from agentkit.agent.batches import BATCH_UNITS, FIRST_BATCHES, OpenClaim, reason_to_stop
from agentkit.ledger import Campaign, Hypothesis, Ledger, Spec, UnitOutcome
from agentkit.measurements import Measurements
from agentkit.plugins import Plugin, Plugins
from agentkit.seeds import unit_seed

if TYPE_CHECKING:
    from pathlib import Path

    from false_discovery_agents import Agent

PERTURBED = "perturbed"
Row = tuple[str, int, float, int, float]
"""Label, units, log e, k*, level."""


class Idea(Params):
    """One claim about one idea."""

    world: str
    idea: int
    claim: int
    kind: int


@tool(name="bench.open", version="1", metrics=[Metric(f"m{i}") for i in range(3)])
def open_range(params: Idea, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Metrics without a range."""
    raise NotImplementedError("answered by `answers`")


@tool(name="bench.bounded", version="1", metrics=[Metric(f"m{i}", -1, 1, baseline=0) for i in range(3)])
def bounded_range(params: Idea, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Metrics in [-1, 1] that are 0 on the untouched target."""
    raise NotImplementedError("answered by `answers`")


PLUGINS = Plugins(
    [Plugin("bench", "bench", "1", types.ModuleType("bench"), tools=(open_range, bounded_range))],
    [],
    manager=None,
)


class Seeded:
    """Ideas of one campaign whose units come from the seeds that the ledger derives for their claims."""

    def __init__(self, world: World, agent: Agent, root_seed: str) -> None:
        self.world, self.agent, self._root = world, agent, root_seed

    def kinds(self, idea: int, family: Ints, rng: np.random.Generator) -> Ints:
        """As the world deals them."""
        return self.world.draw_kinds(rng, family)

    def units(
        self, idea: int, claim: int, kinds: Ints, count: int, rng: np.random.Generator
    ) -> tuple[Floats, Bools]:
        """The first `count` confirm units of that claim."""
        spec = self.spec(idea, claim, int(kinds[0]))
        seeds = [unit_seed(self._root, "confirm", spec.sha256, i, 0) for i in range(count)]
        drawn = [self.unit(Unit(index=i, seed=seed), kinds) for i, seed in enumerate(seeds)]
        return np.concatenate([v for v, _ in drawn], axis=-1), np.concatenate([f for _, f in drawn], axis=-1)

    def unit(self, unit: Unit, kinds: Ints) -> tuple[Floats, Bools]:
        """D of one unit in every metric, and whether it fails."""
        return self.world.law(unit.rng("D"), kinds, 1)

    def spec(self, idea: int, claim: int, kind: int) -> Spec:
        """What is frozen for one claim."""
        bounded = np.isfinite(self.world.lo)
        return Spec.build(
            PLUGINS,
            "bench.bounded" if bounded else "bench.open",
            {"world": self.world.name, "idea": idea, "claim": claim, "kind": kind},
            condition=PERTURBED,
            metric=f"m{self.agent.metrics[claim]}",
            direction=self.agent.direction,
            sesoi=0.0,
            test=self.world.test,
            max_units=self.agent.cap,
        )


def both_ways(
    world: World, agent: Agent, path: Path, *, ideas: int, alpha: float, seed: int
) -> tuple[list[Row], list[Row]]:
    """One campaign's verdicts from the real ledger, and from the vectorised rule on the same seeds."""
    with Ledger(path) as ledger:
        most = ideas * agent.claims
        campaign = ledger.campaign(
            f"{world.name}, {agent.name}", alpha=alpha, max_hypotheses=most, root_seed=seed
        )
        source = Seeded(world, agent, campaign.root_seed)
        stored = _Played(campaign, world, agent, source).rows(ideas, np.random.default_rng(seed))
    closed, k_star, _ = ledger_rule(
        world, agent, source, np.random.default_rng(seed), campaigns=1, ideas=ideas, alpha=alpha
    )
    computed = []
    for at in np.flatnonzero(closed.registered[0]):
        decided = closed.need[0, at] <= max(int(k_star[0]), 1)
        label = "supported" if closed.supported_side[0, at] else "contradicted"
        level = min(max(int(k_star[0]), 1) * alpha * (1 / most), alpha)
        computed.append(
            (
                label if decided else "inconclusive",
                int(closed.units[0, at]),
                float(closed.log_e[0, at]),
                int(k_star[0]),
                level,
            )
        )
    return stored, computed


class _Played:
    """The agent at work on a real campaign, one batch after the other."""

    def __init__(self, campaign: Campaign, world: World, agent: Agent, source: Seeded) -> None:
        self.campaign, self.world, self.agent, self.source = campaign, world, agent, source

    def rows(self, ideas: int, rng: np.random.Generator) -> list[Row]:
        """Play the whole campaign; its verdict rows in order of registration."""
        search = Search(self.world, 1)
        kinds: list[Ints] = []
        registered: list[Hypothesis] = []
        for i in range(ideas):
            family = search.next(rng)
            kinds.append(self.source.kinds(i, family, rng))
            if self.agent.shares:
                registered.append(self._register(i, 0, kinds[i]))
                claimed = self._first_batches(registered[i], kinds[i])
            else:
                claimed = any(self._claim(i, c, kinds[i]) for c in range(self.agent.claims))
            search.learn(family, np.array([claimed]))
        if self.agent.shares:
            self._share(registered, kinds)
        return [
            (v.label, v.units, -np.inf if v.log_e is None else v.log_e, v.k_star, v.level)
            for v in self.campaign.verdicts()
        ]

    def _register(self, idea: int, claim: int, kinds: Ints) -> Hypothesis:
        return self.campaign.register(self.source.spec(idea, claim, int(kinds[0])), allow_underpowered=True)

    def _claim(self, idea: int, claim: int, kinds: Ints) -> bool:
        """One hypothesis to its end; whether it is decided at this moment."""
        hypothesis = self._register(idea, claim, kinds)
        while True:
            known = self._batch(hypothesis, kinds)
            reason = reason_to_stop(known)
            if reason and (reason != "futile" or self.agent.patient):
                self.campaign.close(hypothesis, reason)
                return known.decided

    def _batch(self, hypothesis: Hypothesis, kinds: Ints) -> OpenClaim:
        """Draw and answer a batch; what is known then."""
        run = self.campaign.start_confirm(hypothesis, BATCH_UNITS)
        run.record(run.begin_attempt("bench"), [self._answer(u, kinds) for u in run.units])
        status, spec = self.campaign.status(hypothesis), hypothesis.spec
        return OpenClaim(
            hypothesis.ref, spec.direction, spec.null, spec.sesoi, spec.max_units,
            units=status.units, units_left=status.units_left, decided=status.decided,
            log_e=status.log_e or 0.0, level=status.level, interval=(status.lo, status.hi),
        )  # fmt: skip

    def _answer(self, unit: Unit, kinds: Ints) -> UnitOutcome:
        values, failed = self.source.unit(unit, kinds)
        if failed[0, 0]:
            return UnitOutcome(unit.index, "failed", message="the tool broke here")
        arrays = {f"m{i}": np.array([[0.0, values[0, i, 0]]]) for i in range(values.shape[1])}
        return UnitOutcome(
            unit.index, "ok", Measurements.from_arrays([unit], ["baseline", PERTURBED], arrays)
        )

    def _first_batches(self, hypothesis: Hypothesis, kinds: Ints) -> bool:
        return any(self._close_if_decided(hypothesis, kinds) for _ in range(FIRST_BATCHES))

    def _close_if_decided(self, hypothesis: Hypothesis, kinds: Ints) -> bool:
        known: Any = self._batch(hypothesis, kinds)
        if known.decided:
            self.campaign.close(hypothesis, "decided")
        return bool(known.decided)

    def _share(self, registered: Sequence[Hypothesis], kinds: Sequence[Ints]) -> None:
        """Give what is left of the units to the claims whose evidence stands highest, then close all."""
        used = sum(self.campaign.status(h).units for h in registered) // BATCH_UNITS
        for _ in range(self.agent.block * len(registered) // BATCH_UNITS - used):
            status = [self.campaign.status(h) for h in registered]
            paths = np.array([[[s.log_e or 0.0] for s in status]])[None]
            full = np.array(
                [[h.state == "closed" or s.units_left <= 0 for h, s in zip(registered, status, strict=True)]]
            )
            chosen, some = next_claim(paths, np.zeros(full.shape, np.int64), full)
            if not some[0]:
                break
            self._close_if_decided(registered[chosen[0]], kinds[chosen[0]])
        for hypothesis in registered:
            if hypothesis.state != "closed":
                self.campaign.close(hypothesis, "budget")
