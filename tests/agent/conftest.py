"""A campaign with a tiny tool, driven inline: everything real but the size."""

from __future__ import annotations

import sys

import pytest

PLUGIN = '''
import agentkit
from agentkit import Metric, Params

class Shift(Params):
    by: float = 0.3

@agentkit.tool(name="tiny.shift", metrics=[Metric("level", 0, 1)], version="1", controls=["same", "gone"])
def shift(params: Shift, units, ctx):
    """Draw a level between 0.3 and 0.6 and shift it up, down or not at all."""
    table = agentkit.Measurements.builder(units)
    for unit in units:
        level = 0.3 + 0.3 * unit.rng("level").random()
        for name, by in {"baseline": 0, "up": params.by, "down": -params.by, "same": 0}.items():
            table.add(unit, name, "level", level + by)
    return table.build()

@agentkit.tool(name="tiny.fails", metrics=[Metric("level", 0, 1)], version="1")
def fails(params: Shift, units, ctx):
    """Fail on every unit."""
    raise ValueError("the moon is full")

@agentkit.hookimpl
def agentkit_register_tools(register):
    register(shift)
    register(fails)
'''


@pytest.fixture
def lab(tmp_path, monkeypatch):
    from agentkit.laboratory import Lab

    (tmp_path / "tiny_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    lines: list[str] = []
    with Lab(tmp_path / "lab.db", workers="inline", modules=["tiny_plugin"], notify=lines.append) as opened:
        opened.lines = lines
        yield opened
    sys.modules.pop("tiny_plugin", None)


@pytest.fixture
def campaign(lab):
    return lab.campaign("tiny", max_hypotheses=10, seed=1)


@pytest.fixture
def toolbox(lab, campaign):
    return lab.toolbox(campaign, session="test")
