"""`agentkit calibrate`: a sound tool passes, a tool that leaks its seed is caught."""

from __future__ import annotations

import json
import sys

import pytest

PLUGIN = '''
import agentkit
from agentkit import Metric, Params

class Empty(Params):
    pass

def table(units, draw):
    return agentkit.Measurements.from_array(units, ["baseline", "x"], "level", [[draw(u), draw(u)] for u in units])

@agentkit.tool(name="sound.level", metrics=[Metric("level", 0, 1)], version="1")
def sound(params: Empty, units, ctx):
    """Draw a level."""
    return table(units, lambda u: u.rng("level").random())

@agentkit.tool(name="leaky.level", metrics=[Metric("level", 0, 1)], version="1")
def leaky(params: Empty, units, ctx):
    """Let the position in the batch decide."""
    return table(units, lambda u: ((u.index * 37) % 11) / 11)

@agentkit.hookimpl
def agentkit_register_tools(register):
    register(sound)
    register(leaky)
'''


@pytest.fixture
def calibrate(folder, monkeypatch, capsys):
    """Run it on tools of a module, which stands in for an installed package."""
    import agentkit.cli.calibrate as command
    from agentkit.plugins import load_plugins

    (folder / "calibrated_plugin.py").write_text(PLUGIN)

    def both(*, modules=(), **options):
        return load_plugins(modules=[*modules, "calibrated_plugin"], **options)

    monkeypatch.setattr(command, "load_plugins", both)
    monkeypatch.setattr("agentkit.testing.again.load_plugins", both)
    monkeypatch.setattr("agentkit.testing.calling.installed_plugins", both)

    def run(name: str) -> tuple[int, dict]:
        import typer

        command.again._plugins.cache_clear()
        code = 0
        try:
            command.calibrate(name, [], hypotheses=40, store=None, workers="inline", as_json=True)
        except typer.Exit as stop:
            code = stop.exit_code
        return code, json.loads(capsys.readouterr().out)

    yield run
    command.again._plugins.cache_clear()
    sys.modules.pop("calibrated_plugin", None)


def test_a_sound_tool_passes_over_forty_true_nulls(calibrate, monkeypatch):
    # inline workers load plugins by themselves: give them the stand-in too
    monkeypatch.setattr("agentkit.cli.calibrate.open_executor", _with_module)
    code, result = calibrate("sound.level")
    assert result["true_nulls"] == 40
    assert all(result["checks"].values()), result["checks"]
    assert code == 0


def test_a_tool_whose_numbers_do_not_come_from_the_unit_seed_is_caught(calibrate, monkeypatch):
    monkeypatch.setattr("agentkit.cli.calibrate.open_executor", _with_module)
    code, result = calibrate("leaky.level")
    assert code == 1
    assert not result["checks"]["no two hypotheses saw the same numbers"]


def _with_module(config, *, modules=()):
    from agentkit.workers import open_executor

    return open_executor(config, modules=[*modules, "calibrated_plugin"])
