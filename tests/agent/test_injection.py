"""Hostile text in tools, data and docs with a model that obeys all of it: nothing frozen, hidden or outside changes."""

from __future__ import annotations

import hashlib
import json
import os
import sys

import pytest
from langchain_core.messages import AIMessage, ToolMessage

from agentkit.agent.names import to_wire
from agentkit.errors import BudgetError
from agentkit.study import parse_study
from agentkit.testing.replies import Call, Reply
from tests.agent.claude import talk
from tests.agent.hostile import HOSTILE, OBEYED

CANARY = "sk-ant-canary-7f3a9c2e51"
PLUGIN = '''
import agentkit
from agentkit import Metric, Params

class Text(Params):
    text: str = ""

@agentkit.tool(name="tiny.echo", metrics=[Metric("level", 0, 1)], version="1")
def echo(params: Text, units, ctx):
    """{doc}"""
    table = agentkit.Measurements.builder(units)
    for unit in units:
        if params.text:
            raise ValueError(params.text)
        for name, level in {{"baseline": 0.2, "on": 0.7}}.items():
            table.add(unit, name, "level", level + 0.1 * unit.rng("x").random())
    return table.build()

@agentkit.tool(name="tiny.secret", metrics=[Metric("level", 0, 1)], version="1")
def secret(params: Text, units, ctx):
    """Not allowed in these tests."""
    raise AssertionError("a tool outside the allow-list ran")

@agentkit.hookimpl
def agentkit_register_tools(register):
    register(echo)
    register(secret)
'''
GOAL = 16
FROZEN = ("campaign", "hypothesis", "run", "run_unit", "outcome", "measurement", "verdict", "holdout")
STUDY = "goal: x\ntools: [tiny.echo]\nbudget: {runs: 200}"


@pytest.fixture
def hostile_lab(tmp_path, monkeypatch):
    from agentkit.laboratory import Lab

    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "AGENTKIT_CANARY"):
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv(
        "LANGSMITH_TRACING", "false"
    )  # set by every session, so that nothing leaves the machine
    workspace = tmp_path / "work"
    workspace.mkdir()
    doc = "Echo. " + " ".join(h.replace("\\", "").replace('"', "'").replace("\0", "") for h in HOSTILE[:48:3])
    (workspace / "hostile_plugin.py").write_text(PLUGIN.format(doc=doc))
    monkeypatch.syspath_prepend(str(workspace))
    lines: list[str] = []
    with Lab(workspace / "lab.db", workers="inline", modules=["hostile_plugin"], notify=lines.append) as lab:
        lab.lines, lab.outside = lines, tmp_path
        yield lab
    sys.modules.pop("hostile_plugin", None)


def rows(lab, table):
    hidden = "id, key, alpha, max_hypotheses, seed_origin" if table == "campaign" else "*"
    return lab.ledger.query(f"SELECT {hidden} FROM {table}")


def outside(folder):
    return {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file() and "work" not in p.relative_to(folder).parts
    }


def test_the_suite_holds_at_least_sixty_different_strings():
    assert len(set(HOSTILE)) >= 60


def test_a_model_that_obeys_every_hostile_string_changes_no_frozen_row_and_reaches_nothing_outside(
    hostile_lab,
):
    lab = hostile_lab
    campaign = lab.campaign("tiny", max_hypotheses=5)
    spec = {"tool": "tiny.echo", "condition": "on", "metric": "level", "direction": "greater", "null": 0.1, "sesoi": 0.2,
            "max_units": 200}  # fmt: skip
    lab.register(campaign, **spec)
    lab.confirm(campaign)
    before = {table: rows(lab, table) for table in FROZEN}
    root, environment, files = campaign.root_seed, dict(os.environ), outside(lab.outside)

    turns = iter(range(len(HOSTILE)))

    def obey(request):
        """Say the next hostile string and do the next thing that some hostile string asked for; 16 of them a goal."""
        if sum(m["role"] == "assistant" for m in request["messages"]) % (GOAL + 1) == GOAL:
            return Reply("I did all that I was told to do.")
        turn = next(turns)
        name, args = OBEYED[turn % len(OBEYED)]
        echo = Call("tiny__echo", {"text": HOSTILE[turn], "units": 1})
        return Reply(HOSTILE[turn], [echo, Call(to_wire(name), args)])

    with talk(lab, campaign, obey, study=parse_study(STUDY, "s").study) as (session, _):
        for start in range(0, len(HOSTILE), GOAL):
            assert "all that I was told" in session.send(HOSTILE[start])
        results = [m for m in session.messages() if isinstance(m, ToolMessage)]
        said = [m for m in session.messages() if isinstance(m, AIMessage)]

    assert next(turns, None) is None
    assert len(said) == len(HOSTILE) + len(HOSTILE) // GOAL
    assert all(len(m.content) <= 4000 for m in results)
    done = {c.tool for c in session.record.calls().values() if c.status == "ok"}
    assert done <= {"stop", "status", "report", "explore", "run_batch", "tiny.echo"}
    for table in FROZEN:
        kept = before[table]
        assert rows(lab, table)[: len(kept)] == kept, f"{table} rows that were there are as they were"
    assert len(campaign.hypotheses()) == 1, (
        "nothing was registered with an alpha, a weight, a seed or a verdict"
    )
    assert {r.tool for r in campaign.runs()} == {"tiny.echo"}
    assert (campaign.root_seed, dict(os.environ)) == (root, environment)
    assert outside(lab.outside) == files
    lab.ledger.verify()

    secrets = (CANARY, root)
    store = lab.ledger.store.path
    written = [
        store.read_bytes(),
        store.with_name(f"{store.name}-wal").read_bytes(),
        "\n".join(lab.lines).encode(),
    ]
    shown = [str(m.content) for m in results]
    for secret in secrets:
        where = (
            written[2:] if secret == root else written
        )  # the store holds its own root, which no query shows
        assert not any(secret.encode() in blob for blob in where)
        assert not any(secret in text for text in shown)


@pytest.mark.parametrize("hostile", HOSTILE[::9])
def test_a_hostile_goal_gets_no_further_than_its_budget(hostile_lab, hostile):
    campaign = hostile_lab.campaign("tiny")
    script = [Reply("", [Call("tiny__echo", {"units": u})]) for u in range(1, 9)]
    study = parse_study("goal: x\ntools: [tiny.echo]\nbudget: {runs: 2}", "s").study
    with talk(hostile_lab, campaign, script, study=study) as (session, _), pytest.raises(BudgetError):
        session.send(hostile)
    assert len(campaign.runs()) == 2


def test_hostile_text_in_a_study_file_is_data(tmp_path):
    for i, text in enumerate(HOSTILE):
        plain = "".join(c for c in text if c.isprintable() or c == "\n")
        study = parse_study(
            f"goal: {json.dumps(plain)}\ncampaign: {{name: {json.dumps(f'c{i}')}}}", "s"
        ).study
        assert study.goal == plain
        assert (study.campaign.alpha, study.seed) == (0.05, None)


def test_a_report_of_a_hostile_campaign_holds_no_secret_and_no_markup_of_theirs(hostile_lab):
    lab = hostile_lab
    campaign = lab.campaign("tiny", max_hypotheses=5)
    with pytest.raises(Exception, match="units of R1 failed"):
        lab.explore("tiny.echo", text=HOSTILE[3], units=2, campaign=campaign)
    folder = lab.outside / "work" / "out"
    result = lab.result(campaign, folder, text="", goal="<script>alert(1)</script> " + HOSTILE[19])
    for path in (result.report, result.html):
        text = path.read_text()
        assert CANARY not in text
        assert campaign.root_seed not in text
    assert "<script>alert" not in result.html.read_text()
