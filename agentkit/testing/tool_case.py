"""`ToolCase`: what every tool must hold, as a pytest class to subclass."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from agentkit.errors import ParamError
from agentkit.seeds import derive_seed
from agentkit.testing.calling import run_tool
from agentkit.types import BASELINE, Unit
from agentkit.workers import out_of_range

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit.measurements import Measurements
    from agentkit.tools import Tool


class ToolCase:
    """Subclass it in a test module, name the tool and cheap params, and pytest runs the contract.

    Attributes:
        tool: the tool under test.
        params: params of a quick call.
        zero: params at strength zero, or None for a tool that has none.
        n_units: how many units a call gets.
    """

    tool: ClassVar[Tool]
    params: ClassVar[Mapping[str, Any]] = {}
    zero: ClassVar[Mapping[str, Any] | None] = None
    n_units: ClassVar[int] = 3

    @property
    def units(self) -> list[Unit]:
        """Units with seeds of their own."""
        return [Unit(index=i, seed=derive_seed("tool case", i)) for i in range(self.n_units)]

    def test_the_same_units_give_the_same_numbers_whatever_global_state_says(self) -> None:
        """A second call, after every global generator was moved, equals the first."""
        first = run_tool(self.tool, self.params, self.units)
        random.random()
        np.random.random(101)  # noqa: NPY002 - the global state that a tool must not read
        self._same(first, run_tool(self.tool, self.params, self.units))

    def test_any_split_of_the_units_gives_the_same_numbers(self) -> None:
        """One call for all units, one call each, and reversed order agree."""
        whole = run_tool(self.tool, self.params, self.units)
        for unit in self.units:
            self._same(whole.select(units=[unit.index]), run_tool(self.tool, self.params, [unit]))
        self._same(whole, run_tool(self.tool, self.params, self.units[::-1]))

    def test_a_condition_asked_for_alone_gives_the_same_numbers(self) -> None:
        """A confirm run asks for one condition; it must measure what the sweep measured."""
        whole = run_tool(self.tool, self.params, self.units)
        last = whole.conditions[-1]
        alone = run_tool(self.tool, self.params, self.units, conditions=[last])
        self._same(whole.select(conditions=[last]), alone.select(conditions=[last]))

    def test_values_stay_in_the_declared_ranges_and_meet_the_declared_baseline(self) -> None:
        """Ranges make verdicts exact; a value outside makes them invalid."""
        table = run_tool(self.tool, self.params, self.units)
        assert not out_of_range(self.tool, table)

    def test_strength_zero_is_the_untouched_target_bit_for_bit(self) -> None:
        """Every condition at strength zero equals baseline exactly."""
        if self.zero is None:
            pytest.skip(f"{self.tool.name} declares no strength zero in its case")
        table = run_tool(self.tool, self.zero, self.units)
        for metric in table.metrics:
            for condition in table.conditions[1:]:
                assert (table.column(metric, condition) == table.column(metric, BASELINE)).all()

    def test_the_unit_matters_or_the_tool_says_that_it_does_not(self) -> None:
        """A tool whose values never change with the unit must declare `explore_only`."""
        table = run_tool(self.tool, self.params, self.units)
        columns = [column[np.isfinite(column)] for m in table.metrics for column in table.array(m).T]
        varies = any(len(set(column)) > 1 for column in columns)
        assert varies or self.tool.explore_only

    def test_an_unknown_param_is_refused(self) -> None:
        """A misspelt param never passes in silence."""
        with pytest.raises(ParamError, match="no param 'not_a_param'"):
            self.tool.parse({**self.params, "not_a_param": 1})

    def _same(self, one: Measurements, other: Measurements) -> None:
        assert one.units == other.units
        assert one.metrics == other.metrics
        assert set(one.conditions) == set(other.conditions)
        for metric in one.metrics:
            for condition in one.conditions:
                np.testing.assert_allclose(
                    one.column(metric, condition),
                    other.column(metric, condition),
                    rtol=0,
                    atol=self.tool.atol,
                    err_msg=f"{metric} in {condition}",
                )
