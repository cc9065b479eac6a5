"""The lab from an event loop: the same answers, a loop that goes on, and cancellation that ends the jobs."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
import time
from pathlib import Path

import pytest

PLUGIN = '''
import time
import agentkit
from agentkit import Metric, Params

class Wait(Params):
    seconds: float = 0.0

@agentkit.tool(name="slow.wait", metrics=[Metric("level", 0, 1)], version="1")
def wait(params: Wait, units, ctx):
    """Wait for each unit, then give a level."""
    table = agentkit.Measurements.builder(units)
    for unit in units:
        time.sleep(params.seconds)
        level = 0.3 + 0.3 * unit.rng("level").random()
        table.add(unit, "baseline", "level", level)
        table.add(unit, "up", "level", level + 0.3)
    return table.build()

@agentkit.hookimpl
def agentkit_register_tools(register):
    register(wait)
'''
CLAIM = {
    "tool": "slow.wait",
    "condition": "up",
    "metric": "level",
    "direction": "greater",
    "sesoi": 0.2,
    "max_units": 100,
}


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """`opened(**options)`: a lab with a tool that can be slow."""
    import agentkit

    (tmp_path / "slow_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield lambda **options: agentkit.lab(
        tmp_path / "lab.db", modules=["slow_plugin"], **{"workers": "inline", **options}
    )
    sys.modules.pop("slow_plugin", None)


def test_awaited_calls_give_what_the_plain_ones_give_and_verify(opened):
    async def story():
        async with opened() as lab:
            campaign = lab.campaign("c", max_hypotheses=10, seed=1)
            table = await lab.aexplore("slow.wait", units=4, campaign=campaign)
            assert list(table.rows()) == list(lab.explore("slow.wait", units=4, campaign=campaign).rows())
            hypothesis = await lab.aregister(campaign, **CLAIM)
            (verdict,) = await lab.aconfirm(campaign)
            lab.ledger.verify()
            return hypothesis.ref, verdict["label"]

    assert asyncio.run(story()) == ("H1", "supported")


def test_a_goal_and_a_study_are_awaited_too(opened, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(
        f"campaign: {{name: s, max_hypotheses: 10}}\nhypotheses: [{CLAIM}]\nworkers: inline\nseed: 2\n".replace(
            "'", ""
        )
    )

    async def story():
        async with opened() as lab:
            out = await lab.aask("how does slow.wait change the level?", campaign=lab.campaign("g"))
            return out.text, await lab.arun(study)

    text, result = asyncio.run(story())
    assert "exploratory" in text or "never evidence" in text
    assert [v["label"] for v in result.verdicts] == ["supported"]


def test_the_loop_goes_on_while_a_tool_runs_and_two_calls_are_done_one_after_the_other(opened):
    async def story():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        async with opened() as lab:
            ticking = asyncio.create_task(tick())
            first, second = await asyncio.gather(
                lab.aexplore("slow.wait", units=2, seconds=0.1),
                lab.aexplore("slow.wait", units=3, seconds=0.1),
            )
            ticking.cancel()
            runs = [(r.ref, len(r.units)) for r in lab.campaign().runs()]
            lab.ledger.verify()
        assert list(second.select(units=[0, 1]).rows()) == list(first.rows())
        return ticks, runs

    ticks, runs = asyncio.run(story())
    assert ticks >= 5
    assert runs == [("R1", 2), ("R2", 3)]


def test_a_cancelled_call_ends_its_jobs_and_the_lab_answers_the_next_one(opened):
    async def story():
        async with opened(workers="local:1") as lab:
            campaign = lab.campaign("c")
            began = time.monotonic()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(
                    lab.aexplore("slow.wait", units=2, seconds=60.0, campaign=campaign), 4.0
                )
            took = time.monotonic() - began
            (run,) = campaign.runs()
            table = await lab.aexplore("slow.wait", units=2, campaign=campaign)
            lab.ledger.verify()
            return took, len(run.missing()), table.units

    took, missing, units = asyncio.run(story())
    assert took < 30
    assert (missing, units) == (2, (0, 1))


def test_a_call_that_had_not_begun_when_it_was_cancelled_leaves_no_trace_and_stops_no_other(opened):
    async def story():
        async with opened() as lab:
            campaign = lab.campaign("c")
            running = asyncio.create_task(lab.aexplore("slow.wait", units=2, seconds=0.2, campaign=campaign))
            waiting = asyncio.create_task(lab.aexplore("slow.wait", units=5, campaign=campaign))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            return (await running).units, [len(r.units) for r in campaign.runs()]

    assert asyncio.run(story()) == ((0, 1), [2])


def test_a_planner_that_is_cancelled_starts_nothing_more(opened):
    async def story():
        async with opened(workers="local:1") as lab:
            campaign = lab.campaign("g")
            goal = "how does slow.wait change the level? seconds 30"
            asked = asyncio.create_task(lab.aask(goal, campaign=campaign))
            while not campaign.runs():
                await asyncio.sleep(0.05)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            runs = len(campaign.runs())
            await asyncio.sleep(0.3)
            assert len(campaign.runs()) == runs
            lab.ledger.verify()
            return runs

    assert asyncio.run(story()) == 1


def test_no_thread_of_the_lab_is_left_behind(opened):
    async def story():
        async with opened() as lab:
            await lab.aexplore("slow.wait", units=1)

    asyncio.run(story())
    assert not [t.name for t in threading.enumerate() if t.name.startswith("agentkit")]


def test_the_example_runs_and_prints_what_it_says():
    path = Path(__file__).parents[2] / "examples" / "async_lab.py"
    spec = importlib.util.spec_from_file_location("async_lab_example", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    assert asyncio.run(example.main()) == ["2 and 4 units", "the first two are the same: True"]
