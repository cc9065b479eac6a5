"""What `@agentkit.tool` checks when a tool is defined, and what a tool refuses when it is called."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

import agentkit
from agentkit import Metric, Params, Unit
from agentkit.errors import MeasurementError, ParamError, PluginError
from agentkit.tools import split_uri

SCORE = [Metric("score", 0, 1)]


class Strength(Params):
    rate: Annotated[float, Field(ge=0, le=1)] = 0.1
    target: str = "minilm:"


def good(params: Strength, units, ctx):
    """Do one thing to the target."""


def test_a_tool_carries_its_schema_docstring_and_metrics():
    tool = agentkit.tool(metrics=SCORE, version="2", name="demo.good")(good)
    assert tool.summary == "Do one thing to the target."
    assert tool.schema()["properties"]["rate"]["maximum"] == 1
    assert (tool.name, tool.version, tool.metric("score").high) == ("demo.good", "2", 1)


def test_annotations_as_text_are_resolved():
    assert agentkit.tool(metrics=SCORE, version="1")(good).params_model is Strength


def no_docstring(params: Strength, units, ctx):
    return None


def wrong_names(parameters: Strength, units, ctx):
    """Wrong."""


def wrong_params(params: int, units, ctx):
    """Wrong."""


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (no_docstring, {}, "no docstring"),
        (wrong_names, {}, "wrong signature"),
        (wrong_params, {}, "subclass of agentkit.Params"),
        (good, {"metrics": []}, "at least one metric"),
        (good, {"metrics": [*SCORE, *SCORE]}, "each name once"),
        (good, {"name": "Not A Name"}, "lower case"),
    ],
)
def test_a_tool_that_breaks_the_contract_is_refused_when_it_is_defined(function, options, message):
    with pytest.raises(PluginError, match=message):
        agentkit.tool(**{"metrics": SCORE, "version": "1", **options})(function)


def test_bad_params_name_the_field_the_bound_and_near_names():
    tool = agentkit.tool(metrics=SCORE, version="1")(good)
    with pytest.raises(ParamError, match=r"'rate': Input should be less than or equal to 1 \(got 2.0\)"):
        tool.parse({"rate": 2.0})
    with pytest.raises(ParamError, match="no param 'rat'. Did you mean 'rate'"):
        tool.parse({"rat": 0.2})
    with pytest.raises(ParamError, match="finite"):
        tool.parse({"rate": float("nan")})
    with pytest.raises(ParamError, match="no metric of good 'scor'"):
        tool.metric("scor")


def test_a_table_about_other_units_or_metrics_is_refused():
    tool = agentkit.tool(metrics=SCORE, version="1")(good)
    units = [Unit(index=0, seed=0)]
    table = agentkit.Measurements.from_array(units, ["baseline"], "score", [[0.5]])
    tool.check(table, units)
    with pytest.raises(MeasurementError, match=r"units \[0, 1\] were asked for"):
        tool.check(table, [*units, Unit(index=1, seed=1)])
    with pytest.raises(MeasurementError, match="no declared metric 'other'"):
        tool.check(agentkit.Measurements.from_array(units, ["baseline"], "other", [[0.5]]), units)


@pytest.mark.parametrize(("low", "high", "baseline"), [(1, 1, None), (2, 1, None), (0, 1, 2)])
def test_a_metric_with_an_impossible_range_is_refused(low, high, baseline):
    with pytest.raises(ValueError, match="metric score"):
        Metric("score", low, high, baseline)


def test_gpus_are_a_share_or_a_whole_number():
    assert agentkit.Resources(gpus=0.25).gpus == 0.25
    with pytest.raises(ValueError, match="fraction below 1 or a whole number"):
        agentkit.Resources(gpus=1.5)


def test_a_unit_gives_equal_streams_for_equal_names_and_other_streams_for_other_names():
    unit = Unit(index=0, seed=123)
    assert unit.rng("a").integers(1 << 60) == Unit(index=7, seed=123).rng("a").integers(1 << 60)
    assert unit.rng("a").integers(1 << 60) != unit.rng("b").integers(1 << 60)
    first = unit.torch_generator("a").initial_seed()
    assert first == unit.torch_generator("a").initial_seed() != unit.torch_generator("b").initial_seed()


def test_a_text_without_a_scheme_is_no_target():
    assert split_uri("minilm:x:y") == ("minilm", "x:y")
    with pytest.raises(ParamError, match="scheme:rest"):
        split_uri("minilm")
