"""`run --dry-run`, `--fresh`, `--require` and `run -`: what it would take, what is known, and what the exit code says."""

from __future__ import annotations

import io
import json
import sys
from functools import partial

import pytest

COUNTED = '''
import os
from pathlib import Path
import agentkit
from agentkit import Metric, Params

class Shift(Params):
    by: float = 0.3
    drift: bool = False

@agentkit.tool(name="counted.shift", metrics=[Metric("level", 0, 1)], version="1", seconds_per_unit=0.5)
def shift(params: Shift, units, ctx):
    """Shift a level, and leave a line for each unit that was really measured."""
    log = Path(os.environ["COUNTED_LOG"])
    table = agentkit.Measurements.builder(units)
    for unit in units:
        with log.open("a") as file:
            file.write(f"{unit.seed}\\n")
        level = 0.3 + 0.3 * unit.rng("level").random() + (0.01 * len(log.read_text()) % 0.1 if params.drift else 0)
        table.add(unit, "baseline", "level", level)
        table.add(unit, "up", "level", level + params.by)
    return table.build()

@agentkit.hookimpl
def agentkit_register_tools(register):
    register(shift)
'''
STUDY = """
campaign: {name: counted, max_hypotheses: 10}
explore:
  - {tool: counted.shift, params: {by: 0.2}, units: 6}
hypotheses:
  - {tool: counted.shift, params: {by: 0.2}, condition: up, metric: level, direction: greater, sesoi: 0.1, max_units: 100}
store: sqlite:///$STORE
workers: inline
seed: 3
"""


@pytest.fixture
def counted(folder, monkeypatch):
    """How many units were really measured so far; the tool is installed as a plugin would be."""
    (folder / "counted_plugin.py").write_text(COUNTED)
    log = folder / "measured.txt"
    log.touch()
    monkeypatch.setenv("COUNTED_LOG", str(log))
    from agentkit import laboratory, plugins
    from agentkit.cli import dry_run

    monkeypatch.setattr(laboratory, "Lab", partial(laboratory.Lab, modules=["counted_plugin"]))
    monkeypatch.setattr(dry_run, "load_plugins", partial(plugins.load_plugins, modules=["counted_plugin"]))
    yield lambda: len(log.read_text().splitlines())
    sys.modules.pop("counted_plugin", None)


def test_a_dry_run_tells_runs_units_and_seconds_and_leaves_nothing_behind(
    counted, write_study, agentkit, folder
):
    path = write_study(text=STUDY)
    code, out, err = agentkit("run", path, "--dry-run", "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert [(s["kind"], s["units"], s["known"], s["state"]) for s in plan["steps"]] == [
        ("explore", 6, 0, "new"),
        ("confirm", 102, 0, "new"),
    ]
    assert (plan["runs"], plan["to_measure"], plan["usd"]) == (1 + 1 + 5, 108, 0.0)
    assert plan["seconds"] == pytest.approx(0.5 * 108)
    assert counted() == 0
    assert not (folder / "lab.db").exists()
    code, out, _ = agentkit("run", path, "--dry-run")
    assert "nothing was started" in out
    assert "at most 7 runs; 108 of 108 units to measure" in out


def test_a_dry_run_knows_what_the_store_answers(counted, write_study, agentkit, folder):
    path = write_study(text=STUDY)
    assert agentkit("run", path, "--json")[0] == 0
    before = (folder / "lab.db").read_bytes()
    plan = json.loads(agentkit("run", path, "--dry-run", "--json")[1])
    assert [s["state"] for s in plan["steps"]] == ["answered", "answered"]
    assert (plan["runs"], plan["to_measure"], plan["seconds"]) == (0, 0, 0)
    wider = write_study("wider.yaml", text=STUDY.replace("units: 6", "units: 10"))
    plan = json.loads(agentkit("run", wider, "--dry-run", "--json")[1])
    assert (plan["steps"][0]["state"], plan["steps"][0]["known"]) == ("partly answered", 6)
    other = write_study("other.yaml", text=STUDY.replace("by: 0.2", "by: 0.25"))
    plan = json.loads(agentkit("run", other, "--dry-run", "--json")[1])
    assert [s["state"] for s in plan["steps"]] == ["new", "new"]
    assert (folder / "lab.db").read_bytes() == before


def test_a_dry_run_of_a_goal_says_that_the_planner_decides_and_a_model_has_no_known_price(
    counted, write_study, agentkit
):
    text = "goal: does it shift?\nplanner: anthropic:some-model\nbudget: {runs: 7}\nworkers: inline\n"
    code, out, err = agentkit("run", write_study(text=text), "--dry-run")
    assert code == 0, err
    assert "planner anthropic:some-model, which may add runs and claims, at most 7 runs in all" in out
    assert "USD unknown" in out


def test_a_dry_run_names_every_fault_of_the_file_with_its_line(counted, write_study, agentkit):
    text = STUDY.replace("by: 0.2}, units", "bye: 0.2}, units").replace("metric: level", "metric: levl")
    code, out, err = agentkit("run", write_study(text=text), "--dry-run")
    assert (code, out) == (2, "")
    assert "study.yaml:4" in err
    assert "Did you mean 'by'" in err
    assert "Did you mean 'level'" in err


def test_what_was_answered_once_is_never_measured_again_by_run_or_by_explore(
    counted, write_study, agentkit, folder
):
    path = write_study(text=STUDY)
    assert agentkit("run", path, "--json")[0] == 0
    measured = counted()
    assert agentkit("run", path, "--resume", "--json")[0] == 0
    assert counted() == measured
    from agentkit.laboratory import Lab

    with Lab("sqlite:///lab.db", workers="inline") as lab:
        campaign = lab.campaign("counted", max_hypotheses=10, seed=3)
        one = lab.explore("counted.shift", campaign=campaign, units=6, by=0.2)
        assert counted() == measured
        assert list(lab.explore("counted.shift", campaign=campaign, units=6, by=0.2).rows()) == list(
            one.rows()
        )
        more = lab.explore("counted.shift", campaign=campaign, units=8, by=0.2)
        assert counted() == measured + 2, "six units are known, two are new"
        assert list(more.select(units=range(6)).rows()) == list(one.rows())


def test_fresh_measures_known_answers_again_and_compares_them(counted, write_study, agentkit, folder):
    path = write_study(text=STUDY)
    assert agentkit("run", path, "--json")[0] == 0
    measured, before = counted(), json.loads(agentkit("log", "lab.db", "--json")[1])
    code, _, err = agentkit("run", path, "--resume", "--fresh", "--json")
    assert code == 0, err
    assert counted() == measured + 6
    assert "R2: 6 recorded units measured again, 12 values, largest difference 0" in err
    assert json.loads(agentkit("log", "lab.db", "--json")[1])[0]["runs"] == before[0]["runs"], (
        "nothing was written"
    )


def test_fresh_names_a_tool_that_does_not_give_the_same_numbers(counted, write_study, agentkit, folder):
    from agentkit.errors import NondeterministicError
    from agentkit.laboratory import Lab

    with Lab("sqlite:///lab.db", workers="inline") as lab:
        ask = {"units": 4, "by": 0.2, "drift": True}
        lab.explore("counted.shift", **ask)
        with pytest.raises(NondeterministicError, match=r"R1: 4 recorded units .* counted\.shift allows 0"):
            lab.explore("counted.shift", fresh=True, **ask)


@pytest.mark.parametrize(
    ("direction", "require", "code"),
    [
        ("greater", "supported", 0),
        ("greater", "decided", 0),
        ("less", "supported", 6),
        ("less", "decided", 0),
    ],
)
def test_require_says_by_the_exit_code_whether_every_claim_came_out(
    counted, write_study, agentkit, direction, require, code
):
    path = write_study(text=STUDY.replace("direction: greater", f"direction: {direction}"))
    found, out, err = agentkit("run", path, "--require", require, "--json")
    assert found == code, err
    assert json.loads(out)["verdicts"], "the result is printed all the same"
    if code:
        assert "required supported: H1 contradicted" in err


def test_require_of_a_study_without_a_claim_is_not_met_and_a_wrong_word_is_refused(
    counted, write_study, agentkit
):
    path = write_study(text=STUDY.split("\nhypotheses:")[0] + "\nstore: sqlite:///lab.db\nworkers: inline\n")
    code, _, err = agentkit("run", path, "--require", "supported")
    assert code == 6, err
    code, _, err = agentkit("run", path, "--require", "support")
    assert (code, "supported or decided is allowed" in err) == (2, True)


def test_a_study_can_come_from_stdin(counted, write_study, agentkit, monkeypatch):
    text = write_study(text=STUDY).read_text()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    code, out, err = agentkit("run", "-", "--json")
    assert code == 0, err
    assert json.loads(out)["verdicts"][0]["label"] == "supported"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"goal: x\nfoo: 1\n")))
    code, _, err = agentkit("run", "-")
    assert (code, "<stdin>:2" in err) == (2, True)
