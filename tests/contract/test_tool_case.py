"""The contract kit on the built-in tools of the first study, and on tools that break it."""

from __future__ import annotations

import numpy as np
import pytest

import agentkit
from agentkit import Metric, Params
from agentkit.plugins import installed_plugins
from agentkit.testing import ToolCase


class TestNoiseText(ToolCase):
    tool = installed_plugins().tool("noise.text")
    params = {"strengths": [0.1, 0.4], "items": 4, "candidates": 20}


class TestPerturbHeads(ToolCase):
    tool = installed_plugins().tool("attention.perturb_heads")
    params = {"sites": "L0.H0-1, L5.H11", "n": 2, "candidates": 4}
    zero = {"sites": "L2.H3", "technique": "scale", "strength": 1, "n": 2, "candidates": 4}


class Nothing(Params):
    pass


def table_of(units, value):
    return agentkit.Measurements.from_array(
        units, ["baseline", "x"], "score", [[0.5, value(u)] for u in units]
    )


def broken(name, value):
    def function(params: Nothing, units, ctx):
        """Break one rule."""
        return table_of(units, value)

    function.__annotations__["params"] = Nothing
    return agentkit.tool(name=name, metrics=[Metric("score", 0, 1)], version="1")(function)


def case_of(tool) -> ToolCase:
    return type("Case", (ToolCase,), {"tool": tool, "params": {}, "zero": {}})()


def test_the_kit_catches_a_tool_that_reads_global_randomness():
    case = case_of(broken("bad.random", lambda u: np.random.rand()))  # noqa: NPY002
    with pytest.raises(AssertionError):
        case.test_the_same_units_give_the_same_numbers_whatever_global_state_says()


def test_the_kit_catches_a_tool_whose_numbers_depend_on_the_batch():
    calls = []
    case = case_of(broken("bad.batch", lambda u: calls.append(u) or (len(calls) % 7) / 7))
    with pytest.raises(AssertionError):
        case.test_any_split_of_the_units_gives_the_same_numbers()


def test_the_kit_catches_values_out_of_range_a_dead_seed_and_a_false_zero():
    with pytest.raises(AssertionError):
        case_of(
            broken("bad.range", lambda u: 1.5)
        ).test_values_stay_in_the_declared_ranges_and_meet_the_declared_baseline()
    with pytest.raises(AssertionError):
        case_of(broken("bad.unit", lambda u: 0.25)).test_the_unit_matters_or_the_tool_says_that_it_does_not()
    with pytest.raises(AssertionError):
        case_of(broken("bad.zero", lambda u: 0.51)).test_strength_zero_is_the_untouched_target_bit_for_bit()
