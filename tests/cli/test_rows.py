"""Reading a ledger from the command line: rows, one row, SQL; and one exploration without a planner."""

from __future__ import annotations

import csv
import io
import json
import time

import pytest

TEXT = ["-p", "target=py:pairs_encoder:make", "-p", "strengths=[0.3]", "-p", "items=8", "-p", "candidates=40"]


@pytest.fixture
def store(folder):
    from agentkit.laboratory import Lab

    params = {"target": "py:pairs_encoder:make", "strengths": [0.3], "items": 8, "candidates": 40}
    with Lab("sqlite:///lab.db", workers="inline") as lab:
        campaign = lab.campaign("pairs", max_hypotheses=10, seed=3)
        lab.register(campaign, tool="noise.text", params=params, condition="typos=0.3", metric="margin",
                     direction="less", sesoi=0.2, max_units=100)  # fmt: skip
        lab.confirm(campaign)
    return folder / "lab.db"


def test_lists_and_rows_come_as_columns_json_and_csv(store, agentkit):
    code, out, err = agentkit("runs", "list", "--store", store)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split()[:4] == ["run", "campaign", "phase", "tool"]
    runs = json.loads(agentkit("runs", "list", "--store", store, "--json")[1])
    assert [r["run"] for r in runs] == [f"R{i + 1}" for i in range(len(runs))]
    table = list(csv.DictReader(io.StringIO(agentkit("runs", "list", "--store", store, "--csv")[1])))
    assert [r["run"] for r in table] == [r["run"] for r in runs]
    assert json.loads(table[0]["params"]) == runs[0]["params"]
    assert len(json.loads(agentkit("runs", "list", "--store", store, "--limit", "1", "--json")[1])) == 1
    (hypothesis,) = json.loads(agentkit("hypotheses", "list", "--store", store, "--json")[1])
    (verdict,) = json.loads(agentkit("verdicts", "list", "--store", store, "--json")[1])
    assert (hypothesis["hypothesis"], hypothesis["label"]) == ("H1", verdict["label"])
    assert json.loads(agentkit("campaigns", "list", "--store", store, "--json")[1])[0]["hypotheses"] == 1


def test_one_row_is_shown_with_all_that_belongs_to_it(store, agentkit):
    code, out, _ = agentkit("hypotheses", "show", "H1", "--store", store)
    assert code == 0
    assert "sesoi" in out
    assert "noise.text" in out
    measured = list(csv.DictReader(io.StringIO(agentkit("runs", "show", "R1", "--store", store, "--csv")[1])))
    assert {m["condition"] for m in measured} >= {"baseline", "typos=0.3"}
    one = json.loads(agentkit("runs", "show", "R1", "--store", store, "--json")[1])
    assert float(measured[0]["value"]) == one["measurements"][0]["value"], "CSV loses no digit"
    assert json.loads(agentkit("verdicts", "show", "H1", "--store", store, "--json")[1])["units"] > 0


def test_sql_answers_one_select_and_nothing_else(store, agentkit):
    code, out, _ = agentkit("sql", "SELECT COUNT(*) AS n FROM hypothesis", "--store", store, "--json")
    assert (code, json.loads(out)) == (0, [{"n": 1}])
    assert json.loads(agentkit("sql", "SELECT root_seed FROM campaign", "--store", store, "--json")[1]) == [
        {"root_seed": None}
    ]
    before = store.read_bytes()
    for statement in (
        "DELETE FROM verdict",
        "UPDATE verdict SET label = 'x'",
        "SELECT 1; DROP TABLE run",
        "PRAGMA x",
    ):
        code, out, err = agentkit("sql", statement, "--store", store)
        assert (code, out) == (2, ""), statement
        assert "only one SELECT" in err
    assert store.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs", "list", "--store", "nowhere.db"], "nowhere.db"),
        (["runs", "show", "R99", "--store", "lab.db"], "the last one is R"),
        (["runs", "list", "--campaign", "pears", "--store", "lab.db"], "Did you mean 'pairs'"),
        (["verdicts", "show", "R1", "--store", "lab.db"], "no run has a verdict"),
        (["hypotheses", "list", "--store", "lab.db", "--limit", "0"], "limit"),
        (["sql", "SELECT x FROM nowhere", "--store", "lab.db"], "no such table"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_exit_2(store, agentkit, arguments, said):
    code, out, err = agentkit(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_one_exploration_runs_without_a_planner_and_is_answered_from_the_ledger_the_second_time(
    folder, agentkit
):
    ask = ["tools", "run", "noise.text", *TEXT, "--units", "4", "--store", "lab.db", "--workers", "inline"]
    code, out, err = agentkit(*ask)
    assert code == 0, err
    assert "exploratory, never evidence" in out
    assert "typos=0.3" in out
    first = json.loads(agentkit(*ask, "--json")[1])
    assert (first["run"], first["units"]) == ("R1", 4), "the same question, the same run"
    code, _, err = agentkit(*ask, "--fresh")
    assert (code, "measured again" in err) == (0, True)
    assert len(json.loads(agentkit("runs", "list", "--store", "lab.db", "--json")[1])) == 1


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["-p", "strengths"], "write key=value"),
        (["-p", "strenghts=[0.3]"], "Did you mean 'strengths'"),
        (["-p", "strengths=[0.3"], "is not a YAML value"),
    ],
)
def test_a_wrong_param_is_refused_before_a_store_is_made(folder, agentkit, pairs, said):
    code, _, err = agentkit("tools", "run", "noise.text", *pairs, "--store", "new.db")
    assert code == 2
    assert said in err
    assert not (folder / "new.db").exists()


def test_ten_thousand_runs_are_listed_quickly(folder, agentkit):
    import sqlite3

    from agentkit.laboratory import Lab

    with Lab("sqlite:///lab.db", workers="inline") as lab:
        lab.explore(
            "noise.text", units=2, target="py:pairs_encoder:make", strengths=[0.3], items=8, candidates=40
        )
    with sqlite3.connect("lab.db") as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(run)")]
        picked = ", ".join(
            {"id": "i.n", "job_sha256": "printf('%064d', i.n)"}.get(n, f"r.{n}") for n in names
        )
        connection.execute(
            f"WITH RECURSIVE i(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM i WHERE n < 10000) "
            f"INSERT INTO run ({', '.join(names)}) SELECT {picked} FROM i JOIN run r ON r.id = 1"
        )
    began = time.process_time()
    code, out, err = agentkit("runs", "list", "--store", "lab.db", "--json")
    spent = time.process_time() - began
    assert code == 0, err
    assert len(json.loads(out)) == 10_000
    assert spent <= 3.0, f"{spent:.2f} s CPU"
