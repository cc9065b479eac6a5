"""Files of a whole run are made from the ledger, however its units were spread over jobs."""

import json
import re

import pytest
from typer.testing import CliRunner

import agentkit
from agentkit.errors import AgentkitError
from agentkit_input_noise import curve_files, slot_table
from agentkit_input_noise.commands import app
from agentkit_input_noise.figures import KERNELS

PARAMS = {"kinds": ["edge_drop", "edge_add", "type_swap"], "strengths": [0.2, 0.5], "items": 30}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A ledger with an exploration of five units (five jobs), one of a single unit, and one of another tool."""
    path = tmp_path_factory.mktemp("store") / "lab.db"
    with agentkit.lab(path, workers="inline") as lab:
        campaign = lab.campaign("graphs", seed=1)
        lab.explore("noise.graph", campaign=campaign, units=5, **PARAMS)
        lab.explore("noise.graph", campaign=campaign, units=1, **{**PARAMS, "k": 5})
    return path


def call(*words):
    result = CliRunner().invoke(app, ["figures", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_a_run_is_drawn_whole(store, tmp_path):
    printed = call("R1", store, "--out", tmp_path / "f", "--json")
    names = {n.rpartition("/")[2] for n in json.loads(printed)["files"]}
    assert names == {"curve.json", "curve.svg", "contrasts.json", "heat.svg", "strength.json"}
    curve = json.loads((tmp_path / "f" / "curve.json").read_text())
    with agentkit.lab(store, workers="inline") as lab:
        table = lab.campaign("graphs").runs("explore")[0].measurements()
    assert len(table.units) == 5
    assert curve["recall_at_k"]["edge_drop"]["mean"][2] == pytest.approx(
        table.column("recall_at_k", "edge_drop=0.5").mean()
    )


def test_a_run_is_drawn_the_same_twice(store, tmp_path):
    call("R1", store, "--out", tmp_path / "a")
    call("R1", store, "--out", tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.parametrize(
    ("run", "message"), [("R2", "nothing to draw from 1 units"), ("R9", "no run R9"), ("first", "is no run")]
)
def test_what_cannot_be_drawn_is_refused(store, tmp_path, run, message):
    with pytest.raises(AgentkitError, match=message):
        call(run, store, "--out", tmp_path / "f")


def test_every_tool_with_curves_has_a_kernel_that_draws():
    from importlib import import_module

    for module in KERNELS.values():
        assert callable(import_module(f"agentkit_input_noise.{module}").draw)


def test_the_table_of_noisy_slot_filling_has_a_row_for_each_kind_with_its_paired_loss():
    units = [agentkit.Unit(index=i, seed=i) for i in range(3)]
    table = agentkit.Measurements.from_array(
        units,
        ["baseline", "typos=0.4", "a+b=0.4"],
        "span_f1",
        [[0.9, 0.8, 0.6], [0.8, 0.6, 0.5], [0.85, 0.7, 0.5]],
    )
    rows = slot_table.rows_of(table, {"typos": "typos=0.4", "a+b": "a+b=0.4"})
    assert [row["noisy"] for row in rows] == [pytest.approx(0.7), pytest.approx(1.6 / 3)]
    assert rows[0]["clean"] == pytest.approx(0.85)
    assert rows[0]["lost"] == pytest.approx(0.15)
    assert rows[0]["lost_half_width_95"] < rows[0]["noisy_half_width_95"]
    assert "a+b=0.4" in slot_table.draw_table(rows)


def test_a_map_is_coloured_over_the_range_of_its_metric():
    units = [agentkit.Unit(index=i, seed=i) for i in range(2)]
    sweep = curve_files.Sweep(["a", "b", "c"], [0.1], [agentkit.Metric("return", 0, 500)])

    def drawn(*levels):
        names = ["baseline", "a=0.1", "b=0.1", "c=0.1"]
        table = agentkit.Measurements.from_array(units, names, "return", [[500, *levels]] * 2)
        return curve_files.draw_heat(table, sweep, sweep.kinds)

    def picture(svg):
        return re.search(r'base64,([^"]*)"', svg)[1]

    falling = drawn(490, 250, 10)
    assert picture(falling) != picture(drawn(500, 500, 500))
    assert all(f">{level}<" in falling for level in (490, 250, 10))
