from __future__ import annotations

import json

from agentkit.report import render_table, verdict_table
from tests.report.worlds import World


def test_rows_hold_plain_values_in_order_of_registration(study):
    rows = verdict_table(study.campaign)
    assert [row["verdict"] for row in rows] == [f"H{i}" for i in range(1, 7)]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    for row, verdict in zip(rows, study.campaign.verdicts(), strict=True):
        for name in (
            "label",
            "reason",
            "estimate",
            "lo",
            "hi",
            "log_e",
            "level",
            "k_star",
            "units",
            "failed",
        ):
            assert row[name] == getattr(verdict, name)
    assert rows[2]["claim"] == "mean match under L3.H5 is lower than at baseline"
    assert rows[2]["sentence"].startswith(
        "supported: mean match under L3.H5 is lower than at baseline (estimate"
    )


def test_the_terminal_table_aligns_figures_and_wraps_claims(study):
    text = render_table(verdict_table(study.campaign), width=60)
    lines = text.splitlines()
    assert lines[0].split() == ["verdict", "label", "estimate", "interval", "n", "failed", "reason"]
    figures = [line for line in lines if line.startswith("H")]
    assert len(figures) == 6
    end = lines[0].index("interval") + len("interval")
    assert all(line[end - 1] == "]" for line in figures)
    claims = [line for line in lines[1:] if not line.startswith("H")]
    assert len(claims) >= 6 and all(len(line) <= 60 and line.startswith(" " * 9) for line in claims)


def test_an_empty_campaign_says_so(store):
    assert (
        render_table(verdict_table(World(store).campaign)) == "No hypothesis is registered in this campaign."
    )


def test_control_characters_of_a_condition_never_reach_the_terminal(store):
    world = World(store)
    world.register("toy.named", {"names": ["a\x1b[31mb", "c"]}, condition="a\x1b[31mb", metric="score")
    assert "\x1b" not in render_table(verdict_table(world.campaign))
