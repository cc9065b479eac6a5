"""`verify --anchor`, `report --strict` and `run --takeover`: what the command line says about a record, and its exit codes."""

from __future__ import annotations

import json
import subprocess

import pytest

from agentkit.ledger import Ledger
from agentkit.ledger.session_values import Message, TurnEnd
from agentkit.ledger.sessions import open_session

CLAIM = """
store: sqlite:///lab.db
workers: inline
seed: 3
campaign: {name: pairs, max_hypotheses: 2}
hypotheses:
- tool: noise.text
  params: {target: "py:pairs_encoder:make", strengths: [0.6], items: 8, candidates: 40}
  condition: typos=0.6
  metric: recall_at_1
  direction: equivalent
  sesoi: 0.3
  max_units: 40
"""


@pytest.fixture
def lab(write_study, agentkit):
    """A finished study in lab.db."""
    code, _, err = agentkit("run", write_study(text=CLAIM))
    assert code == 0, err
    return "lab.db"


def say(words: str) -> None:
    """A planner session of the campaign ends with these words."""
    with Ledger("lab.db") as ledger:
        session = open_session(
            ledger.reopen("pairs"), "01A", planner="offline", prompt="plan@v1", prompt_sha256="ab", tools=[], environment={}
        )  # fmt: skip
        asked = Message("human", {"content": "go"}, {})
        chain = [(asked.hash_after(None), asked)]
        begun = session.begin_turn(chain, "offline")
        session.end_turn(begun, chain[-1][0], TurnEnd(Message("ai", {"content": words}, {})), [])


def test_heads_noted_in_a_file_are_checked_and_a_foreign_one_is_named(agentkit, lab, folder):
    code, out, err = agentkit("verify", lab, "--anchor-to", "heads.jsonl")
    assert (code, "noted in heads.jsonl" in out) == (0, True), err
    agentkit("verify", lab, "--anchor-to", "heads.jsonl")
    lines = [json.loads(line) for line in (folder / "heads.jsonl").read_text().splitlines()]
    assert [line["campaign"] for line in lines] == ["pairs", "pairs"]
    assert agentkit("verify", lab, "--anchor", "heads.jsonl")[0] == 0
    with (folder / "heads.jsonl").open("a") as file:
        file.write(json.dumps({"head": "0" * 64, "campaign": "pairs", "noted_at": "2026-01-01"}) + "\n")
    code, _, err = agentkit("verify", lab, "--anchor", "heads.jsonl")
    assert code == 1
    assert "anchor 0000000000000000… of campaign 'pairs', noted 2026-01-01, is in no chain" in err


@pytest.mark.parametrize(
    ("content", "said"), [("", "no head is noted"), ("nonsense\n", "'nonsense' is not a noted head")]
)
def test_a_file_without_heads_is_no_anchor(agentkit, lab, folder, content, said):
    (folder / "heads.jsonl").write_text(content)
    code, _, err = agentkit("verify", lab, "--anchor", "heads.jsonl")
    assert (code, said in err) == (2, True), err
    code, _, err = agentkit("verify", lab, "--anchor", "absent.jsonl")
    assert (code, "64 hex digits" in err) == (2, True), err


def test_heads_are_noted_at_the_current_commit_and_read_from_there(agentkit, lab, folder, monkeypatch):
    code, _, err = agentkit("verify", lab, "--anchor-to", "git")
    assert (code, "inside a repository" in err) == (2, True), err
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.org")
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "start"]):
        subprocess.run(["git", *arguments], check=True, cwd=folder)
    code, out, err = agentkit("verify", lab, "--anchor-to", "git")
    assert (code, "refs/notes/agentkit of commit" in out) == (0, True), err
    assert agentkit("verify", lab, "--anchor", "git")[0] == 0


def test_a_strict_report_without_prose_passes(agentkit, lab):
    assert agentkit("report", lab, "--strict")[0] == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("Typos are proven to hurt.", "it cites no verdict, so it is exploratory"),
        ("H1 is supported.", "nothing cited is supported: H1 is equivalent"),
        ("H7 is supported.", "H7 is no hypothesis of this campaign"),
    ],
)
def test_a_strict_report_lists_what_the_planner_claims_without_a_verdict_and_exits_with_1(
    agentkit, lab, words, why
):
    say(f"Done.\n{words}")
    assert agentkit("report", lab)[0] == 0
    code, out, _ = agentkit("report", lab, "--strict")
    assert code == 1
    assert words in out and why in out and "Done." not in out
    code, out, _ = agentkit("report", lab, "--strict", "--json")
    assert (code, json.loads(out)["unbacked"]) == (1, [{"place": "session 01A", "line": words, "why": why}])


def test_words_that_their_verdict_says_pass_a_strict_report(agentkit, lab):
    say(
        "H1 is equivalent, so typos have no effect of that size. H1 is not supported.\n\n## Exploratory notes\n\nL3.H2 is proven to matter."
    )
    assert agentkit("report", lab, "--strict")[0] == 0


def test_run_takes_a_campaign_over_only_when_told(write_study, agentkit, folder):
    study = write_study(text=CLAIM)
    with Ledger("lab.db") as hanging:
        hanging.campaign("pairs", max_hypotheses=2, root_seed=3)
        code, _, err = agentkit("run", study)
        assert (code, "is being driven by process" in err and "--takeover" in err) == (2, True), err
        code, _, err = agentkit("run", study, "--takeover")
        assert code == 0, err
    assert agentkit("verify", "lab.db")[0] == 0
