"""Rows of a store as anybody may read them."""

from __future__ import annotations

import pytest

from agentkit.errors import LedgerError
from agentkit.ledger.listing import KINDS, one, rows
from tests.agent.conftest import campaign, lab, toolbox  # noqa: F401 - fixtures

CLAIM = {"tool": "tiny.shift", "condition": "up", "metric": "level", "direction": "greater", "sesoi": 0.1}


@pytest.fixture
def filled(lab, toolbox, campaign):  # noqa: F811
    ref = toolbox.call("1", "register", CLAIM)["hypothesis"]
    toolbox.call("2", "run_batch", {"hypothesis": ref, "units": 40})
    toolbox.call("3", "stop", {"hypothesis": ref})
    campaign.verdicts()
    lab.toolbox(lab.campaign("other", seed=2)).call("1", "explore", {"tool": "tiny.shift", "units": 3})
    return lab.ledger


def test_each_kind_lists_its_rows_oldest_first_and_a_limit_keeps_the_newest(filled):
    assert [c["campaign"] for c in rows(filled, "campaigns")] == ["tiny", "other"]
    assert [r["run"] for r in rows(filled, "runs")] == ["R1", "R2", "R3"]
    assert [r["run"] for r in rows(filled, "runs", limit=2)] == ["R2", "R3"]
    assert [r["run"] for r in rows(filled, "runs", campaign="tiny")] == ["R1", "R2"]
    run = rows(filled, "runs")[1]
    assert (run["phase"], run["hypothesis"], run["units"], run["answered"], run["failed"]) == (
        "confirm",
        "H1",
        40,
        40,
        0,
    )
    assert rows(filled, "runs")[0]["hypothesis"] is None
    (hypothesis,) = rows(filled, "hypotheses")
    assert (hypothesis["label"], hypothesis["contrast"]) == ("supported", {"up": 1.0, "baseline": -1.0})
    (verdict,) = rows(filled, "verdicts")
    assert (verdict["hypothesis"], verdict["label"], verdict["units"]) == ("H1", "supported", 40)
    assert rows(filled, "failures") == []


def test_failed_units_are_listed_with_what_they_said(lab, campaign):  # noqa: F811
    with pytest.raises(Exception, match="moon"):
        lab.explore("tiny.fails", campaign=campaign, units=2)
    found = rows(lab.ledger, "failures")
    assert [(f["run"], f["unit"], f["status"]) for f in found] == [("R1", 0, "failed"), ("R1", 1, "failed")]
    assert "the moon is full" in found[0]["message"]


def test_one_row_tells_all_about_itself(filled):
    assert one(filled, "runs", "R3")["measurements"][0] == {
        "unit": 0, "condition": "baseline", "metric": "level", "value": pytest.approx(0.45, abs=0.16)
    }  # fmt: skip
    assert one(filled, "hypotheses", "H1")["runs"] == ["R2"]
    assert one(filled, "verdicts", "H1")["claim"]["tool"] == "tiny.shift"
    assert len(one(filled, "campaigns", "tiny")["head"]) == 64


def test_no_row_of_any_kind_shows_a_root_seed(filled, campaign):  # noqa: F811
    shown = str([rows(filled, kind) for kind in KINDS]) + str(one(filled, "campaigns", "tiny"))
    assert campaign.root_seed not in shown


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda led: rows(led, "run"), "Did you mean 'runs'"),
        (lambda led: rows(led, "runs", campaign="tinny"), "Did you mean 'tiny'"),
        (lambda led: one(led, "campaigns", "tinny"), "Did you mean 'tiny'"),
        (lambda led: one(led, "runs", "R99"), "the last one is R3"),
        (lambda led: one(led, "hypotheses", "x"), "write a number, or H3"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(filled, call, said):
    with pytest.raises(LedgerError, match=said):
        call(filled)
