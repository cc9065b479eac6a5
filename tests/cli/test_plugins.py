"""Plugins from the command line: what is installed, a package to start from, and the contract on its tools."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def test_the_list_names_every_plugin_and_what_it_brings(agentkit):
    code, out, err = agentkit("plugins", "list", "--json")
    assert (code, err) == (0, "")
    plugins = {p["plugin"]: p for p in json.loads(out)["plugins"]}
    assert "noise.text" in plugins["input_noise"]["tools"]
    assert "minilm:" in str([p["targets"] for p in plugins.values()])
    assert "tools" in agentkit("plugins", "list")[1]


def test_a_new_package_passes_its_own_test_and_the_contract_as_it_was_written(folder, agentkit, monkeypatch):
    code, out, err = agentkit("plugins", "new", "my_shift")
    assert code == 0, err
    package = folder / "agentkit-my-shift"
    assert sorted(p.name for p in package.iterdir()) == [
        "agentkit_my_shift.py",
        "pyproject.toml",
        "test_my_shift.py",
    ]
    assert 'my_shift = "agentkit_my_shift"' in (package / "pyproject.toml").read_text()
    assert "pip install -e agentkit-my-shift" in out
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(package)],
        capture_output=True, text=True, cwd=package, env={**__import__("os").environ, "PYTHONPATH": str(package)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout
    monkeypatch.syspath_prepend(str(package))
    code, out, err = agentkit("plugins", "check", "agentkit_my_shift", "-p", "by=0.2", "--json")
    assert code == 0, out + err
    found = json.loads(out)
    assert {c["result"] for c in found["checks"]} == {"ok", "skipped"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "My Plugin"], "lower-case letters"),
        (["new", "1st"], "lower-case letters"),
        (["check", "input_nois"], "Did you mean 'input_noise'"),
        (["check", "no_such_module_here"], "no plugin or module"),
        (["check", "input_noise", "--tool", "noise.txt"], "Did you mean 'noise.text'"),
        (["check", "input_noise", "-p", "items=8"], "-p needs --tool"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder, agentkit, arguments, said):
    code, _, err = agentkit("plugins", *arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_nothing_is_written_over_what_is_there(folder, agentkit):
    (folder / "agentkit-mine").mkdir()
    (folder / "agentkit-mine" / "notes.txt").write_text("mine")
    code, _, err = agentkit("plugins", "new", "mine")
    assert (code, "not empty" in err) == (2, True)
    assert [p.name for p in (folder / "agentkit-mine").iterdir()] == ["notes.txt"]


BROKEN = '''
import random
import agentkit
from agentkit import Metric, Params

class Nothing(Params):
    by: float = 0.1

@agentkit.tool(name="broken.walk", metrics=[Metric("level", 0, 1)], version="1")
def walk(params: Nothing, units, ctx):
    """Take numbers from global state, out of the declared range."""
    table = agentkit.Measurements.builder(units)
    for unit in units:
        table.add(unit, "baseline", "level", random.random())
        table.add(unit, "on", "level", 1 + random.random())
    return table.build()

@agentkit.hookimpl
def agentkit_register_tools(register):
    register(walk)
'''


def test_a_tool_that_breaks_the_contract_is_told_which_rules_and_exits_1(folder, agentkit):
    (folder / "broken_walk.py").write_text(BROKEN)
    code, out, err = agentkit("plugins", "check", "broken_walk", "--json")
    assert code == 1, err
    failed = {c["rule"] for c in json.loads(out)["checks"] if c["result"] == "failed"}
    assert "the same units give the same numbers whatever global state says" in failed
    assert "values stay in the declared ranges and meet the declared baseline" in failed
    assert "an unknown param is refused" not in failed
    sys.modules.pop("broken_walk", None)
