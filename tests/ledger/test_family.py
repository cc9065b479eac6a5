"""p-values over a sweep as one family: the same for the same run, and fair to conditions with gaps."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from agentkit.ledger.family import family_p
from agentkit.measurements import Measurements
from agentkit.stats.fixed import max_t
from agentkit.types import Unit

UNITS = [Unit(index=i, seed=1000 + i) for i in range(12)]
DIFFERENCES = {
    "strong": 1 + np.arange(12) / 10,
    "noise": np.tile([1.0, -1.0], 6),
    "still": np.zeros(12),
}


def run_of(columns: dict[str, np.ndarray], units: list[Unit] = UNITS) -> SimpleNamespace:
    b = Measurements.builder(units)
    for i, unit in enumerate(units):
        b.add(unit, "baseline", "level", float(i))
        for condition, differences in columns.items():
            if np.isfinite(differences[i]):
                b.add(unit, condition, "level", float(i + differences[i]))
    table = b.build()
    return SimpleNamespace(units=units, measurements=lambda: table)


def test_each_condition_is_adjusted_by_max_t_over_all_of_them_with_flips_from_the_runs_seeds():
    found = family_p(run_of(DIFFERENCES), "level")
    by_hand = max_t(np.column_stack([*DIFFERENCES.values()]), np.random.default_rng([u.seed for u in UNITS]))
    assert found == dict(zip(DIFFERENCES, by_hand.p_values, strict=True))
    assert found["strong"] <= 0.01 and found["noise"] == found["still"] == 1.0


def test_a_condition_without_values_in_some_units_is_judged_by_those_it_has():
    gaps = np.where(np.arange(12) < 4, np.nan, 1.0)
    found = family_p(run_of({**DIFFERENCES, "gaps": gaps}), "level")
    eight = family_p(run_of({"gaps": gaps[4:]}, UNITS[4:]), "level")["gaps"]
    assert eight == pytest.approx(2 / 2**8, abs=0.005)
    assert eight <= found["gaps"] <= 0.05
    assert list(found) == [*DIFFERENCES, "gaps"]


def test_one_unit_has_no_p_value():
    assert family_p(run_of(DIFFERENCES, UNITS[:1]), "level") == {}
