"""What stands between an agent's p-values and a claim: nothing, POPPER's rule, SAFFRON, BH, or the ledger's rule.

The ledger's rule is computed here from `agentkit.stats` for many campaigns at once; `false_discovery_ledger.py` runs
single campaigns through the real store and compares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from false_discovery_agents import LEVEL, Agent
from false_discovery_worlds import Search, World
from numpy.typing import NDArray

from agentkit.agent.batches import (
    BATCH_UNITS,
    FIRST_BATCHES,
    FUTILITY_FROM_UNITS,
    FUTILITY_SPEED,
    LEARNING_NATS,
)
from agentkit.stats.eprocess import log_tails_path, streams
from agentkit.stats.intervals import log_threshold, rounded
from agentkit.stats.procedures import bh, levels_at, saffron

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
KAPPA = 0.5
POPPER_TESTS = 5
SMALLEST_P = 1e-300


@dataclass
class Tally:
    """What many campaigns came to, per campaign: claims that were made, false ones, true ideas found, cost."""

    made: Ints
    false: Ints
    found: Ints
    true_ideas: Ints
    units: Ints
    runs: Ints

    @property
    def fdp(self) -> Floats:
        """Share of false ones among the claims of each campaign, 0 where none was made."""
        return self.false / np.maximum(self.made, 1)

    @property
    def fdr(self) -> tuple[float, float]:
        """Mean share of false claims and its standard error."""
        return float(self.fdp.mean()), float(self.fdp.std(ddof=1) / math.sqrt(len(self.fdp)))

    @property
    def power(self) -> float:
        """Mean share of the true ideas that were found; NaN where there are none."""
        some = self.true_ideas > 0
        return float((self.found[some] / self.true_ideas[some]).mean()) if some.any() else math.nan


class Ideas(Protocol):
    """Where ideas and their units come from."""

    def kinds(self, idea: int, family: Ints, rng: np.random.Generator) -> Ints:
        """The kind of the next idea in each campaign."""

    def units(
        self, idea: int, claim: int, kinds: Ints, count: int, rng: np.random.Generator
    ) -> tuple[Floats, Bools]:
        """Fresh units: D (campaign, metric, unit) and which fail (campaign, unit)."""


@dataclass(frozen=True)
class Drawn:
    """Ideas and units straight from the world's law."""

    world: World

    def kinds(self, idea: int, family: Ints, rng: np.random.Generator) -> Ints:
        """As the world deals them."""
        return self.world.draw_kinds(rng, family)

    def units(
        self, idea: int, claim: int, kinds: Ints, count: int, rng: np.random.Generator
    ) -> tuple[Floats, Bools]:
        """As the law has it."""
        return self.world.law(rng, kinds, count)


def _imputed(values: Floats, failed: Bools, world: World, agent: Agent) -> tuple[Floats, Bools]:
    """Failed units as the worst case, or left out."""
    if agent.imputes and world.units_fail:
        return np.where(failed[:, None], world.lo, values), np.ones_like(failed)
    return values, ~failed


def reported(
    world: World, agent: Agent, rng: np.random.Generator, *, campaigns: int, ideas: int, alpha: float
) -> dict[str, Tally]:
    """The agent's own p-values, and what none, SAFFRON and BH make of them."""
    search, source = Search(world, campaigns), Drawn(world)
    p, up = np.ones((campaigns, ideas)), np.ones((campaigns, ideas), np.bool_)
    kinds = np.zeros((campaigns, ideas), np.int64)
    units, runs = np.zeros(campaigns, np.int64), np.zeros(campaigns, np.int64)
    for i in range(ideas):
        family = search.next(rng)
        kinds[:, i] = source.kinds(i, family, rng)
        values, failed = source.units(i, 0, kinds[:, i], agent.block, rng)
        report = agent.analyse(*_imputed(values, failed, world, agent))
        p[:, i], up[:, i] = report.p, report.up
        units, runs = units + report.units, runs + report.runs
        search.learn(family, report.p < LEVEL)
    claims = {
        "none": p < LEVEL,
        "SAFFRON": np.array([saffron(row, alpha).rejected for row in p]),
        "BH": np.array([bh(row, alpha) for row in p]),
    }
    return {name: _tally(made, up, kinds, units, runs) for name, made in claims.items()}


def popper(
    world: World, agent: Agent, rng: np.random.Generator, *, campaigns: int, ideas: int, alpha: float
) -> Tally:
    """POPPER's aggregation (Huang et al. 2025, arXiv 2502.09858, and the default of its published code).

    Each test of an idea turns its p-value into e = kappa * p^(kappa - 1), kappa = 1/2; the product of the e-values is
    compared with 1/alpha after each test, and an idea is validated when it passes; 5 tests at most. Each idea has
    its own alpha. A test gets a fifth of the units that the agent would spend on the idea, and the agent reports
    its p-value as it always does.
    """
    search, source = Search(world, campaigns), Drawn(world)
    made, up = np.zeros((campaigns, ideas), np.bool_), np.ones((campaigns, ideas), np.bool_)
    kinds = np.zeros((campaigns, ideas), np.int64)
    units, runs = np.zeros(campaigns, np.int64), np.zeros(campaigns, np.int64)
    for i in range(ideas):
        family = search.next(rng)
        kinds[:, i] = source.kinds(i, family, rng)
        log_e, going = np.zeros(campaigns), np.ones(campaigns, np.bool_)
        for test in range(POPPER_TESTS):
            values, failed = source.units(i, test, kinds[:, i], agent.block // POPPER_TESTS, rng)
            report = agent.analyse(*_imputed(values, failed, world, agent))
            log_e += np.where(going, log_p_to_e(report.p), 0.0)
            up[:, i] = np.where(going, report.up, up[:, i])
            units, runs = units + going * report.units, runs + going * report.runs
            going &= log_e <= math.log(1 / alpha)
        made[:, i] = ~going
        search.learn(family, made[:, i])
    return _tally(made, up, kinds, units, runs)


def log_p_to_e(p: Floats) -> Floats:
    """Log of kappa * p^(kappa - 1)."""
    log_e: Floats = math.log(KAPPA) + (KAPPA - 1) * np.log(np.maximum(p, SMALLEST_P))
    return log_e


def _tally(made: Bools, up: Bools, kinds: Ints, units: Ints, runs: Ints) -> Tally:
    true = kinds > 0
    right = made & true & up
    return Tally(made.sum(1), (made & ~right).sum(1), right.sum(1), true.sum(1), units, runs)


# ---- the ledger's rule


class OnlineEBH:
    """Online e-BH of `agentkit.stats` with equal weights, for many campaigns at once.

    A hypothesis is decided when k* reaches its `need`, the smallest k at which its evidence passes its level.
    """

    def __init__(self, campaigns: int, most: int, alpha: float) -> None:
        self.most = most
        self._ks = np.arange(1, most + 1)
        levels = np.array([levels_at(int(k), np.array([1 / most]), alpha)[0] for k in self._ks])
        self.thresholds = log_threshold(levels)  # falling in k
        self._enough = np.zeros((campaigns, most), np.int64)

    def need(self, log_e: Floats) -> Ints:
        """Smallest k in 1..most that decides; most + 1 for none."""
        return 1 + np.searchsorted(-self.thresholds, -rounded(log_e), side="left")

    def k_star(self, need: Ints | None = None) -> Ints:
        """Per campaign, with one more hypothesis of that need where given."""
        enough = self._enough if need is None else self._enough + (need[:, None] <= self._ks)
        passed = enough >= self._ks
        last = self.most - passed[:, ::-1].argmax(1)
        return np.where(passed.any(1), last, 0)

    def close(self, rows: Bools, need: Ints) -> None:
        """Count a hypothesis of these campaigns as closed."""
        self._enough[rows] += need[rows, None] <= self._ks


@dataclass
class Closed:
    """Hypotheses as they were closed, each (campaign, hypothesis)."""

    registered: Bools
    log_e: Floats
    supported_side: Bools
    up: Bools
    units: Ints
    need: Ints
    kinds: Ints


def ledger_rule(
    world: World,
    agent: Agent,
    source: Ideas,
    rng: np.random.Generator,
    *,
    campaigns: int,
    ideas: int,
    alpha: float,
) -> tuple[Closed, Ints, Ints]:
    """Every hypothesis of every campaign as the ledger would close it, k* of each campaign, and its runs."""
    most = ideas * agent.claims
    rule, search = OnlineEBH(campaigns, most, alpha), Search(world, campaigns)
    shape = (campaigns, most)
    closed = Closed(
        np.zeros(shape, np.bool_), np.full(shape, -np.inf), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_),
        np.zeros(shape, np.int64), np.full(shape, most + 1), np.zeros(shape, np.int64),
    )  # fmt: skip
    runs = np.zeros(campaigns, np.int64)
    if agent.shares:
        return _shared_units(world, agent, source, rng, rule, search, closed, ideas)
    for i in range(ideas):
        family = search.next(rng)
        kinds = source.kinds(i, family, rng)
        going = np.ones(campaigns, np.bool_)
        for c in range(agent.claims):
            values, failed = source.units(i, c, kinds, agent.cap, rng)
            at = i * agent.claims + c
            closed.kinds[:, at] = kinds
            decided, used = _one_claim(
                world, agent, rule, closed, at, values[:, agent.metrics[c]], failed, going
            )
            runs += used
            going &= ~decided
        search.learn(family, ~going)
    return closed, rule.k_star(), runs


def _one_claim(
    world: World,
    agent: Agent,
    rule: OnlineEBH,
    closed: Closed,
    at: int,
    values: Floats,
    failed: Bools,
    going: Bools,
) -> tuple[Bools, Ints]:
    """Draw batches of one hypothesis in the campaigns that go on, look after each, stop as the agent does."""
    above, below = evidence_paths(world, values, failed)
    ends = [*range(BATCH_UNITS, agent.cap, BATCH_UNITS), agent.cap]
    active, decided_now = going.copy(), np.zeros_like(going)
    runs = np.zeros(len(going), np.int64)
    for end in ends:
        # sesoi is 0: a claim can be supported or, in the other direction, contradicted
        log_e = rounded(np.maximum(above[:, end - 1], below[:, end - 1]))
        need = rule.need(log_e)
        k = np.maximum(rule.k_star(need), 1)
        decided = need <= k
        stop = active & (decided | (end == agent.cap))
        if agent.patient and end >= FUTILITY_FROM_UNITS:
            speed = FUTILITY_SPEED * np.maximum(0.0, (log_e + LEARNING_NATS) / end)
            reachable = log_e + (agent.cap - end) * speed
            stop |= active & (reachable < rule.thresholds[k - 1])
        runs += active
        decided_now |= stop & decided
        upward = above[:, end - 1] >= below[:, end - 1]
        closed.registered[stop, at] = True
        closed.log_e[stop, at] = log_e[stop]
        closed.up[stop, at] = upward[stop]
        closed.supported_side[stop, at] = upward[stop] if agent.direction == "greater" else True
        closed.units[stop, at] = end
        closed.need[stop, at] = need[stop]
        rule.close(stop, need)
        active &= ~stop
    return decided_now, runs


def _shared_units(
    world: World,
    agent: Agent,
    source: Ideas,
    rng: np.random.Generator,
    rule: OnlineEBH,
    search: Search,
    closed: Closed,
    ideas: int,
) -> tuple[Closed, Ints, Ints]:
    """The agent that spends `block` units an idea on the whole, but not on each: see `next_claim`."""
    campaigns = search.campaigns
    ends = np.arange(BATCH_UNITS, agent.cap + 1, BATCH_UNITS)
    paths = np.zeros((2, campaigns, ideas, len(ends)))
    batches = np.zeros((campaigns, ideas), np.int64)
    for i in range(ideas):
        family = search.next(rng)
        closed.kinds[:, i] = source.kinds(i, family, rng)
        values, failed = source.units(i, 0, closed.kinds[:, i], agent.cap, rng)
        tails = evidence_paths(world, values[:, 0], failed)
        paths[:, :, i] = [tail[:, ends - 1] for tail in tails]
        for _ in range(FIRST_BATCHES):
            _one_batch(rule, closed, paths, batches, np.full(campaigns, i), ~closed.registered[:, i])
        search.learn(family, closed.registered[:, i])
    left = agent.block * ideas // BATCH_UNITS - batches.sum(1)
    while (left > 0).any():
        chosen, some = next_claim(paths, batches, closed.registered)
        if not (some := some & (left > 0)).any():
            break
        _one_batch(rule, closed, paths, batches, chosen, some)
        left -= some
    for i in range(ideas):  # what is left over is closed undecided
        _close(rule, closed, paths, batches, np.full(campaigns, i), ~closed.registered[:, i])
    return closed, rule.k_star(), batches.sum(1)


def next_claim(paths: Floats, batches: Ints, closed: Bools) -> tuple[Ints, Bools]:
    """The open claim with units left whose evidence stands highest, and whether there is one."""
    newest = np.maximum(batches - 1, 0)
    now = rounded(np.take_along_axis(paths.max(axis=0), newest[..., None], 2)[..., 0])
    now[closed | (batches >= paths.shape[-1])] = -np.inf
    return now.argmax(1), np.isfinite(now.max(1))


def _one_batch(
    rule: OnlineEBH, closed: Closed, paths: Floats, batches: Ints, idea: Ints, rows: Bools
) -> None:
    """One more batch of an idea in these campaigns; it is closed when that decides it."""
    batches[rows, idea[rows]] += 1
    campaign = np.arange(len(idea))
    log_e = rounded(paths.max(axis=0)[campaign, idea, batches[campaign, idea] - 1])
    need = rule.need(log_e)
    decided = rows & (need <= np.maximum(rule.k_star(need), 1))
    _close(rule, closed, paths, batches, idea, decided)


def _close(rule: OnlineEBH, closed: Closed, paths: Floats, batches: Ints, idea: Ints, rows: Bools) -> None:
    campaign = np.arange(len(idea))
    above, below = paths[:, campaign, idea, batches[campaign, idea] - 1]
    log_e = rounded(np.maximum(above, below))
    need = rule.need(log_e)
    at = np.flatnonzero(rows), idea[rows]
    closed.registered[at], closed.log_e[at], closed.need[at] = True, log_e[rows], need[rows]
    closed.up[at] = closed.supported_side[at] = (above >= below)[rows]
    closed.units[at] = BATCH_UNITS * batches[at]
    rule.close(rows, need)


def evidence_paths(world: World, values: Floats, failed: Bools) -> tuple[Floats, Floats]:
    """Logs of half the evidence that D is above and below 0 after each unit, as the ledger's verdict reads them."""
    rows = len(values)
    data = streams(world.test, list(values), list(failed), [world.lo] * rows, [world.hi] * rows)
    above, below = log_tails_path(data, np.zeros(rows))
    return above + math.log(0.5), below + math.log(0.5)


def judged(closed: Closed, k_star: Ints, runs: Ints, claims: int) -> Tally:
    """Count labels: `supported` makes a claim; one of the wrong sign, or `contradicted` where D is positive, is false."""
    decided = closed.registered & (closed.need <= np.maximum(k_star, 1)[:, None])
    true = closed.kinds > 0
    supported = decided & closed.supported_side
    right = supported & true & closed.up
    wrong = (supported & ~right) | (decided & ~closed.supported_side & true)
    by_idea = right.reshape(len(right), -1, claims).any(2)
    true_ideas = true.reshape(len(true), -1, claims).any(2)
    made = supported.sum(1) + (decided & ~closed.supported_side & true).sum(1)
    return Tally(made, wrong.sum(1), by_idea.sum(1), true_ideas.sum(1), closed.units.sum(1), runs)
