"""The long table: what it refuses, what it keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Measurements, Unit
from agentkit.errors import MeasurementError

UNITS = [Unit(index=3, seed=1), Unit(index=1, seed=2)]


def table(values=((0.5, 0.1, 0.2), (0.6, 0.3, 0.4))) -> Measurements:
    return Measurements.from_array(UNITS, ["baseline", "b", "a"], "score", values)


def test_units_are_sorted_and_conditions_keep_the_tools_order():
    found = table()
    assert found.units == (1, 3)
    assert found.conditions == ("baseline", "b", "a")
    assert found.column("score", "a").tolist() == [0.4, 0.2]


def test_baseline_comes_first_wherever_the_tool_put_it():
    found = Measurements.from_array(UNITS, ["x", "baseline"], "score", [[1, 2], [3, 4]])
    assert found.conditions == ("baseline", "x")
    assert found.column("score", "x").tolist() == [3.0, 1.0]


def test_a_table_without_baseline_is_refused():
    with pytest.raises(MeasurementError, match="baseline"):
        Measurements.from_array(UNITS, ["a"], "score", [[1], [2]])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_with_its_condition_and_unit(bad):
    with pytest.raises(MeasurementError, match=r"condition 'b', unit 3"):
        table(((0.5, bad, 0.2), (0.6, 0.3, 0.4)))
    with pytest.raises(MeasurementError, match=r"condition 'b', unit 3"):
        Measurements.builder(UNITS).add(UNITS[0], "b", "score", bad)


def test_a_wrong_shape_and_a_condition_given_twice_are_refused():
    with pytest.raises(MeasurementError, match=r"shape \(2, 2\)"):
        table(((1, 2), (3, 4)))
    with pytest.raises(MeasurementError, match="'a' is given twice"):
        Measurements.from_array(UNITS, ["baseline", "a", "a"], "score", [[1, 2, 3], [4, 5, 6]])


def test_the_builder_refuses_a_foreign_unit_and_a_unit_without_values():
    builder = Measurements.builder(UNITS)
    with pytest.raises(MeasurementError, match="unit 9"):
        builder.add(Unit(index=9, seed=0), "baseline", "score", 1.0)
    builder.add(UNITS[0], "baseline", "score", 1.0)
    with pytest.raises(MeasurementError, match=r"units \[1\]"):
        builder.build()


def test_parts_of_a_table_make_the_whole_in_any_order():
    whole = table()
    parts = [whole.select(units=[1]), whole.select(units=[3], conditions=["a"]), whole.select(units=[3])]
    assert Measurements.concat(reversed(parts)) == whole


def test_parts_that_disagree_are_refused_with_the_cell():
    with pytest.raises(MeasurementError, match="'a', unit 3"):
        Measurements.concat([table(), table(((0.5, 0.1, 0.9), (0.6, 0.3, 0.4)))])


def test_a_contrast_is_the_weighted_sum_of_its_conditions():
    found = table().differences("score", {"a": 1, "baseline": -1})
    assert found.tolist() == pytest.approx([0.4 - 0.6, 0.2 - 0.5])
    assert table().differences("score", {"a": 0.5, "b": 0.5, "baseline": -1})[1] == pytest.approx(0.15 - 0.5)


def test_near_names_are_offered_for_an_unknown_metric_and_condition():
    with pytest.raises(MeasurementError, match="Did you mean 'score'"):
        table().array("scor")
    with pytest.raises(MeasurementError, match="no condition 'c'"):
        table().column("score", "c")


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=4),
)
def test_json_gives_every_bit_back(values):
    units = [Unit(index=i, seed=i) for i in range(2)]
    made = Measurements.from_array(units, ["baseline", "x"], "m", np.reshape(values, (2, 2)))
    back = Measurements.from_json(made.to_json())
    assert [r.value.hex() for r in back.rows()] == [r.value.hex() for r in made.rows()]


def test_a_metric_that_a_condition_lacks_stays_absent():
    builder = Measurements.builder(UNITS[:1])
    builder.add(UNITS[0], "baseline", "score", 1.0)
    builder.add(UNITS[0], "a", "speed", 2.0)
    found = builder.build()
    assert math.isnan(found.column("speed", "baseline")[0])
    assert sorted(found.rows()) == [(3, "a", "speed", 2.0), (3, "baseline", "score", 1.0)]
    assert Measurements.from_json(found.to_json()) == found
