"""FalseDiscoveryBench keeps its books right: known truth in, counts out, and the real ledger agrees with the fast path."""

from __future__ import annotations

import importlib
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agentkit.stats.procedures import online_ebh

MODULES = ("worlds", "agents", "guards", "ledger", "figure")


@pytest.fixture(scope="module")
def bench() -> Any:
    """The benchmark's modules, and its main one as `main`."""
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        parts = {name: importlib.import_module(f"false_discovery_{name}") for name in MODULES}
        return SimpleNamespace(main=importlib.import_module("false_discovery"), **parts)
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def tiny(bench: Any) -> dict[tuple[str, str, str], Any]:
    """Every agent and guard in an all-null world, a mixed one and the one where units crash: 4 campaigns of 10 ideas."""
    worlds = [bench.worlds.SIMULATED[i] for i in (0, 2, 6)]
    return {
        (world.name, agent.name, guard): tally
        for world in worlds
        for agent in bench.main.agents_of(world)
        for guard, tally in bench.main.cells_of(world, agent, campaigns=4, ideas=10)
    }


def test_every_agent_meets_every_guard_and_the_sharing_one_only_the_ledger(bench, tiny):
    guards = {}
    for world, agent, guard in tiny:
        guards.setdefault((world, agent), set()).add(guard)
    assert all(
        found == ({"agentkit"} if agent == bench.agents.SHARER.name else set(bench.main.GUARDS))
        for (_, agent), found in guards.items()
    )
    dropping = {world for world, agent in guards if agent == bench.agents.DROPPER.name}
    assert dropping == {"units crash where it hurts, 80 % null"}


def test_counts_fit_together_in_every_cell(tiny):
    for key, tally in tiny.items():
        assert len(tally.made) == 4, key
        assert (tally.false <= tally.made).all() and (tally.found <= tally.true_ideas).all(), key
        assert (tally.units > 0).all() and (tally.runs > 0).all(), key
        assert 0 <= tally.fdr[0] <= 1


def test_in_a_world_without_effects_every_claim_is_false_and_there_is_no_power(tiny):
    cells = {key: t for key, t in tiny.items() if key[0] == "normal, all null"}
    assert cells
    for key, tally in cells.items():
        assert (tally.true_ideas == 0).all() and (tally.found == 0).all()
        assert (tally.false == tally.made).all(), key
        assert math.isnan(tally.power)
    assert cells["normal, all null", "naive", "none"].made.sum() > 0


def test_huge_effects_are_all_found_and_claims_in_the_wrong_direction_are_false(bench):
    agents = {a.name: a for a in bench.agents.AGENTS}
    sure = replace(bench.worlds.SIMULATED[1], law=bench.worlds.gaussian((9.0, 9.0, 9.0)))
    for guard, tally in bench.main.cells_of(sure, agents["honest"], campaigns=3, ideas=8):
        assert (tally.found == tally.true_ideas).all(), guard
    upside_down = replace(sure, law=bench.worlds.gaussian((-9.0, -9.0, -9.0)), null_share=0.0)
    for guard, tally in bench.main.cells_of(upside_down, agents["naive"], campaigns=3, ideas=8):
        assert tally.made.sum() > 0, guard
        assert (tally.false == tally.made).all() and tally.found.sum() == 0, guard
    # `greater` that is contradicted where D was said to be positive is a false label as well
    kinds = np.ones((1, 1), np.int64)
    closed = bench.guards.Closed(
        np.ones((1, 1), bool), np.full((1, 1), 9.0), np.zeros((1, 1), bool), np.zeros((1, 1), bool),
        np.full((1, 1), 20), np.ones((1, 1), np.int64), kinds,
    )  # fmt: skip
    tally = bench.guards.judged(closed, np.ones(1, np.int64), np.ones(1, np.int64), 1)
    assert (tally.made[0], tally.false[0], tally.found[0]) == (1, 1, 0)


def test_poppers_rule_multiplies_calibrated_p_values_until_one_over_alpha(bench):
    grid = (np.arange(200_000) + 0.5) / 200_000
    assert np.exp(bench.guards.log_p_to_e(grid)).mean() == pytest.approx(1, abs=0.01)
    assert np.exp(bench.guards.log_p_to_e(np.array([0.01]))) == pytest.approx(5)
    always = replace(
        bench.agents.AGENTS[0],
        analyse=lambda values, ok: bench.agents.Report(
            np.full(len(values), 0.01), np.ones(len(values), bool),
            np.full(len(values), values.shape[-1]), np.ones(len(values), np.int64),
        ),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    world = bench.worlds.SIMULATED[1]
    tally = bench.guards.popper(world, always, rng, campaigns=2, ideas=3, alpha=0.05)
    assert tally.made.tolist() == [3, 3]
    assert tally.runs.tolist() == [6, 6], "5 * 5 = 25 passes 20 at the second test of each idea"


def test_the_fast_rule_is_online_e_bh(bench):
    rng = np.random.default_rng(3)
    for _ in range(50):
        most = int(rng.integers(1, 12))
        rule = bench.guards.OnlineEBH(1, most, 0.05)
        log_e = np.full(most, -np.inf)
        for i in range(most):
            log_e[i] = rng.choice([rng.normal(3, 3), math.log(20), math.log(most * 20)])
            need = rule.need(log_e[i : i + 1])
            k_star, levels = online_ebh(log_e, np.full(most, 1 / most), 0.05)
            assert rule.k_star(need)[0] == k_star
            rule.close(np.ones(1, bool), need)
            assert (need[0] <= max(k_star, 1)) == (np.round(log_e[i], 9) >= np.round(-np.log(levels[i]), 9))


@pytest.mark.parametrize(
    ("world", "agent"), [(0, "honest"), (6, "drops failed"), (4, "retries"), (0, "honest, shares units")]
)
def test_the_real_ledger_gives_the_verdict_rows_of_the_fast_path(bench, tmp_path, world, agent):
    chosen = bench.worlds.SIMULATED[world]
    [who] = [a for a in bench.main.agents_of(bench.worlds.SIMULATED[6]) if a.name == agent]
    stored, computed = bench.ledger.both_ways(chosen, who, tmp_path / "lab.db", ideas=3, alpha=0.05, seed=11)
    assert stored and stored == computed


def test_a_pool_gives_exchangeable_nulls_and_effects_of_known_sign(bench):
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, (4, 3, 400)) - np.array([0, 0.2, 0.5, 1.0])[:, None, None]
    law = bench.worlds.pooled(values)
    D, failed = law(rng, np.array([0, 1, 2, 3] * 200), 50)
    assert D.shape == (800, 3, 50) and not failed.any()
    means = D.reshape(200, 4, 3, 50).mean(axis=(0, 2, 3))
    assert abs(means[0]) < 0.03
    assert 0 < means[1] < means[2] < means[3]
    with pytest.raises(ValueError, match="not one"):
        bench.worlds.pooled(values[[0, 3, 1, 0]])


def test_the_figure_is_written_as_png_and_as_the_same_svg_twice(bench, tiny, tmp_path):
    png, svg = bench.figure.save(tiny, tmp_path / "out", 0.05)
    assert png.read_bytes().startswith(b"\x89PNG") and len(png.read_bytes()) > 10_000
    first = svg.read_text()
    bench.figure.save(tiny, tmp_path / "out", 0.05)
    assert svg.read_text() == first
    bench.main.write_csv(tiny, tmp_path / "cells.csv")
    assert len((tmp_path / "cells.csv").read_text().splitlines()) == len(tiny) + 1
