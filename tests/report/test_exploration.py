from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from agentkit import Unit
from agentkit.measurements import Measurements
from agentkit.report.exploration import (
    curves,
    dose_levels,
    head_differences,
    head_sites,
    main_metric,
    shifts,
    sites_with_verdicts,
    t_interval,
)
from tests.report.test_claims import CLAIM

UNITS = [Unit(index=i, seed=i + 1) for i in range(5)]


def _table(conditions, values, metric="score"):
    return Measurements.from_array(UNITS, conditions, metric, values)


def test_the_interval_of_a_mean_is_students():
    values = np.random.default_rng(1).normal(size=9)
    expected = stats.t.interval(0.95, 8, loc=values.mean(), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx((values.mean(), *expected), abs=1e-12)


def test_one_unit_has_a_mean_and_no_interval():
    mean, lo, hi = t_interval(np.array([0.25]))
    assert mean == 0.25 and math.isnan(lo) and math.isnan(hi)


def test_strengths_are_read_from_condition_names_and_sorted_as_numbers():
    names = [
        "baseline",
        "typo=0.2",
        "typo=0.05",
        "typo=1e-3",
        "rotate=-15",
        "rotate=15",
        "rotate=+5",
        "chance",
        "a=b",
    ]
    assert dose_levels(names) == {
        "rotate": [(-15.0, "rotate=-15"), (5.0, "rotate=+5"), (15.0, "rotate=15")],
        "typo": [(0.001, "typo=1e-3"), (0.05, "typo=0.05"), (0.2, "typo=0.2")],
    }


def test_two_strengths_are_no_curve():
    assert dose_levels(["baseline", "typo=0.1", "typo=0.2"]) == {}


def test_a_curve_starts_at_the_baseline_and_its_band_ends_at_the_metrics_range():
    values = np.tile([0.995, 0.98, 0.6, 0.01], (5, 1)) + np.linspace(-0.01, 0.01, 5)[:, None]
    [curve] = curves(_table(["baseline", "x=1", "x=2", "x=3"], values), "score", (0.0, 1.0))
    assert [level.strength for level in curve.levels] == [0, 1, 2, 3]
    assert curve.baseline.mean == pytest.approx(0.995)
    assert all(0 <= level.lo <= level.mean <= level.hi <= 1 for level in curve.levels)
    [free] = curves(_table(["baseline", "x=1", "x=2", "x=3"], values), "score")
    assert free.levels[0].hi > 1


def test_a_baseline_between_negative_and_positive_strengths_stands_at_zero():
    values = np.random.default_rng(0).normal(size=(5, 4))
    [curve] = curves(_table(["baseline", "r=-5", "r=5", "r=10"], values), "score")
    assert [level.condition for level in curve.levels] == ["r=-5", "baseline", "r=5", "r=10"]


def test_differences_are_paired_by_unit_and_skip_absent_cells():
    b = Measurements.builder(UNITS)
    for unit in UNITS:
        b.add(unit, "baseline", "score", float(unit.index))
        if unit.index < 3:
            b.add(unit, "one", "score", unit.index + 0.5)
    [row] = shifts(b.build(), "score")
    assert (row.mean, row.units, row.lo, row.hi) == (0.5, 3, 0.5, 0.5)
    assert row.level == 1.5


def test_heads_become_a_map_with_holes_where_nothing_was_explored():
    conditions = ["baseline", "L0.H0", "L0.H2", "L2.H1", "L2.H2"]
    table = _table(conditions, np.tile([1.0, 2.0, 3.0, 4.0, 5.0], (5, 1)))
    sites = head_sites(conditions)[""]
    grid = head_differences(shifts(table, "score"), sites)
    assert grid.shape == (3, 3)
    assert grid[2, 1] == 3.0 and grid[0, 2] == 2.0 and math.isnan(grid[1, 1])


def test_each_variant_of_a_sweep_gets_its_own_map():
    conditions = [f"L{layer}.H0:scale@{s}" for s in (0, 2) for layer in range(4)] + ["L0.H0"]
    assert {variant: len(sites) for variant, sites in head_sites(conditions).items()} == {
        "scale@0": 4,
        "scale@2": 4,
    }


def test_the_main_metric_is_the_one_that_claims_are_about():
    table = Measurements.from_arrays(UNITS, ["baseline"], {"a": np.zeros((5, 1)), "margin": np.zeros((5, 1))})
    assert main_metric(table, "toy.heads", []) == "a"
    assert main_metric(table, "toy.heads", [CLAIM]) == "margin"
    assert main_metric(table, "another.tool", [CLAIM]) == "a"


def test_a_head_shows_its_decided_verdict_and_only_claims_of_the_same_question():
    sites = {(3, 2): "L3.H2", (0, 0): "L0.H0"}
    undecided = replace(CLAIM, ref="H4", label="inconclusive")
    other_params = replace(CLAIM, ref="H5", params={"technique": "mean"})
    wider = replace(CLAIM, ref="H6", contrast={"L0.H0": 1.0, "L3.H2": -1.0})
    found = sites_with_verdicts([CLAIM, undecided, other_params, wider], "toy.heads", "margin", {}, sites)
    assert {place: finding.ref for place, finding in found.items()} == {(3, 2): "H3"}


def test_the_condition_that_moved_most_is_named_and_a_metric_of_the_baseline_alone_has_none():
    from agentkit.report.exploration import most_moved

    table = _table(["baseline", "a", "b"], [[0, 1, -2]] * 5)
    moved = most_moved(table, "score")
    assert moved is not None
    assert (moved.condition, moved.mean) == ("b", -2)
    assert most_moved(_table(["baseline"], [[0.0]] * 5), "score") is None
