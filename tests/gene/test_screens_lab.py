"""The loop with a real lab in it: batches and results weeks apart, a chat model on top, kills, and every refusal."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from langchain_anthropic import ChatAnthropic
from typer.testing import CliRunner

from agentkit import Lab
from agentkit.errors import AgentkitError, ConfigError, TargetChangedError
from agentkit.testing.anthropic_server import AnthropicServer
from agentkit.testing.replies import Fault, Reply
from agentkit_gene.loop.errors import LoopStateError
from agentkit_gene.screens.commands import app
from agentkit_gene.screens.lab_loop import PICKS, Asked, LabLoop
from agentkit_gene.screens.opened import _simulate
from agentkit_gene.screens.proposing import hear, question

if TYPE_CHECKING:
    from pathlib import Path

GENES, BATCH, SEED = 300, 12, 5
SIM = f"screen:sim?genes={GENES}"
TRUTH = _simulate(GENES, 7, 0.3, 0.6)
MEASURED = dict(zip(TRUTH.genes, TRUTH.measured(1).tolist(), strict=True))
HITS = dict(zip(TRUTH.genes, TRUTH.hits.tolist(), strict=True))


def opened(folder: Path, planner: Any = "offline") -> Lab:
    return Lab(folder / "lab.db", workers="inline", planner=planner)


def loop_of(lab: Lab) -> LabLoop:
    return LabLoop(lab, lab.campaign("screen", seed=SEED))


def results_file(folder: Path, genes: list[str], *, name: str = "results.csv", hits: bool = True) -> Path:
    """What the lab would send back about these genes."""
    path = folder / name
    lines = [f"{g},{MEASURED[g]!r}" + (f",{int(HITS[g])}" if hits else "") for g in genes]
    path.write_text("gene,score" + (",hit" if hits else "") + "\n" + "\n".join(lines) + "\n")
    return path


def campaign_in(folder: Path, rounds: int, *, reopened: bool) -> list[list[str]]:
    """Picks of some rounds, in one process or in a new one for every call."""
    picked = []
    for r in range(rounds):
        with opened(folder) as lab:
            loop = loop_of(lab)
            if r == 0:
                loop.begin(target=SIM, feedback="hit")
            picked.append(loop.ask(BATCH).genes)
            if not reopened:
                loop.record(results_file(folder, picked[-1]))
        if reopened:
            with opened(folder) as lab:
                loop_of(lab).record(results_file(folder, picked[-1]))
    return picked


def test_three_rounds_give_full_distinct_batches_and_everything_is_in_the_ledger(tmp_path: Path) -> None:
    picked = campaign_in(tmp_path, 3, reopened=False)
    every = [g for genes in picked for g in genes]
    assert [len(genes) for genes in picked] == [BATCH] * 3
    assert len(set(every)) == 3 * BATCH
    with opened(tmp_path) as lab:
        lab.ledger.verify()
        loop = loop_of(lab)
        told = [row["gene"] for r in loop.told for row in r["rows"]]
        assert told == every
        asked = loop.campaign.decisions(PICKS)
        assert [[row["gene"] for row in a["rows"]] for a in asked] == picked
        assert all(row["evidence"] for a in asked for row in a["rows"])
        assert [
            r.params["results"][-1]["round"] if r.params["results"] else 0 for r in loop.campaign.runs()
        ] == [0, 1, 2]


def test_a_process_a_call_gives_the_same_picks_as_one_for_all(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    assert campaign_in(tmp_path / "one", 3, reopened=False) == campaign_in(
        tmp_path / "many", 3, reopened=True
    )


def test_a_killed_round_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "whole").mkdir()
    whole = campaign_in(tmp_path / "whole", 2, reopened=False)
    campaign_in(tmp_path, 1, reopened=False)
    with opened(tmp_path) as lab:
        loop = loop_of(lab)

        def killed(actor: str, kind: str, content: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(loop.campaign, "decide", killed)
        with pytest.raises(KeyboardInterrupt):
            loop.ask(BATCH)
    with opened(tmp_path) as lab:
        assert loop_of(lab).ask(BATCH).genes == whole[1]


def test_asking_again_gives_the_same_batch_and_another_size_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as lab:
        loop = loop_of(lab)
        loop.begin(target=SIM)
        first, again = loop.ask(BATCH), loop.ask(BATCH)
        assert (again.rows, again.csv, again.repeated) == (first.rows, first.csv, True)
        assert len(loop.campaign.runs()) == 1
        with pytest.raises(
            ConfigError, match="round 1 was asked for with batch 12; record its results first"
        ):
            loop.ask(BATCH + 1)


def test_missing_and_unasked_genes_are_named_and_the_round_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path) as lab:
        loop = loop_of(lab)
        loop.begin(target=SIM)
        picked = loop.ask(BATCH).genes
        extra = next(g for g in TRUTH.genes if g not in picked)
        done = loop.record(results_file(tmp_path, [*picked[2:], extra]))
        assert done.missing == tuple(picked[:2])
        assert done.unasked == (extra,)
        assert done.hits == sum(HITS[g] for g in [*picked[2:], extra])
        assert not set(loop.ask(BATCH).genes) & {*picked[2:], extra}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("gene,score\nNOSUCH,1\n", "'NOSUCH' is not in library"),
        ("gene,score\nG1,1\ng1,2\n", "has a result already"),
        ("gene,score\nG1,\n", "line 2: '' is no number"),
        ("symbol,score\nG1,1\n", "no gene column"),
        ("gene,score\nG1,1,1\n", "line 2 has 3 fields"),
    ],
)
def test_bad_results_record_nothing(tmp_path: Path, lines: str, said: str) -> None:
    (tmp_path / "bad.csv").write_text(lines)
    with opened(tmp_path) as lab:
        loop = loop_of(lab)
        loop.begin(target=SIM)
        with pytest.raises(AgentkitError, match=said):
            loop.record(tmp_path / "bad.csv")
        assert loop.told == []


def test_the_last_batch_is_short_and_then_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("gene\n" + "\n".join(TRUTH.genes[:10]))
    (tmp_path / "sets.csv").write_text("set,gene\n" + "\n".join(f"s,{g}" for g in TRUTH.genes[:6]))
    with opened(tmp_path) as lab:
        loop = loop_of(lab)
        loop.begin(target=f"screen:{tmp_path / 'few.csv'}", features=(str(tmp_path / "sets.csv"),))
        loop.record(results_file(tmp_path, loop.ask(7).genes))
        last = loop.ask(7)
        assert len(last.genes) == 3
        assert "short: 3 of 7 were left" in last.notes
        loop.record(results_file(tmp_path, last.genes))
        with pytest.raises(AgentkitError, match="all 10 genes of few are tested"):
            loop.ask(7)


def test_a_campaign_keeps_what_it_was_begun_with(tmp_path: Path) -> None:
    library = tmp_path / "library.csv"
    library.write_text("gene\n" + "\n".join(TRUTH.genes))
    with opened(tmp_path) as lab:
        loop = loop_of(lab)
        with pytest.raises(ConfigError, match="name the genes with --library"):
            loop.begin()
        loop.begin(target=f"screen:{library}", task="one")
        assert loop.begin().task == "one"
        with pytest.raises(ConfigError, match="was begun with task 'one', not 'two'"):
            loop.begin(task="two")
        library.write_text("gene\nG1\n")
        with pytest.raises(TargetChangedError, match="put the file back"):
            loop.begin()


def test_score_feedback_needs_no_hits_and_hit_feedback_does(tmp_path: Path) -> None:
    with opened(tmp_path) as lab:
        loop = loop_of(lab)
        loop.begin(target=SIM)
        assert loop.record(results_file(tmp_path, loop.ask(BATCH).genes, hits=False)).hits is None
        assert len(loop.ask(BATCH).genes) == BATCH
    with opened(tmp_path) as lab:
        other = LabLoop(lab, lab.campaign("called"))
        other.begin(target=SIM, feedback="hit")
        with pytest.raises(ConfigError, match="add a hit column"):
            other.record(results_file(tmp_path, other.ask(BATCH).genes, hits=False))


# ---- a chat model on top


def proposing(folder: Path, reply: Reply | Fault) -> tuple[Any, AnthropicServer, list[str]]:
    """A batch with a model on loopback that says this, and the offline batch."""
    with opened(folder) as lab:
        loop = LabLoop(lab, lab.campaign("offline", seed=SEED))
        loop.begin(target=SIM)
        offline = loop.ask(BATCH).genes
    with AnthropicServer(lambda request: reply) as server:
        model = ChatAnthropic(model="claude-a", base_url=server.url, api_key="none", max_retries=0)
        with opened(folder, model) as lab:
            loop = LabLoop(lab, lab.campaign("offline2", seed=SEED))
            loop.begin(target=SIM)
            asked = loop.ask(BATCH, propose=True)
            lab.ledger.verify()
            heard = loop.campaign.decisions("gene_proposal")
        return (asked, heard), server, offline


def test_a_models_candidates_take_their_places_and_invented_genes_are_counted(tmp_path: Path) -> None:
    wanted = [TRUTH.reporter, "NOTAGENE", *TRUTH.genes[:6]]
    reply = Reply(
        "Here:\n```json\n"
        + json.dumps({"seeds": ["INVENTED1"], "sets": [], "candidates": wanted, "why": "x"})
        + "\n```"
    )
    (asked, heard), server, _ = proposing(tmp_path, reply)
    assert asked.genes[0] == TRUTH.reporter
    assert [r["proposed"] for r in asked.rows[:3]] == ["1", "1", "1"]
    assert len(asked.genes) == len(set(asked.genes)) == BATCH
    assert heard[-1]["invented"] == ["INVENTED1", "NOTAGENE"]
    assert any("2 proposed names are no genes" in n for n in asked.notes)
    said = json.dumps(server.requests[0]["messages"])
    assert "find the genes whose knock-out" in said
    assert "rank" in said


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply("I would test kinases."), "holds no JSON object"),
        (Reply(" "), "said nothing|holds no JSON|no proposal"),
        (Reply('{"seeds": ["G1"'), "is not JSON"),
        (
            Reply('{"seeds": [], "sets": [], "candidates": [], "why": ""}'),
            "proposed nothing that can be used",
        ),
        (Reply('{"candidates": "G1"}'), "proposed nothing that can be used"),
        (Fault(401), "gave no proposal"),
    ],
)
def test_a_malformed_or_empty_reply_gives_the_offline_picks_and_is_logged(
    tmp_path: Path, reply: Any, said: str
) -> None:
    (asked, heard), _, offline = proposing(tmp_path, reply)
    assert asked.genes == offline
    assert any(re.search(said, n) for n in asked.notes)
    assert heard[-1]["proposal"] == {"seeds": [], "sets": [], "candidates": [], "why": ""}
    assert all(r["proposed"] == "0" for r in asked.rows)


def test_hits_among_proposed_genes_are_reported_apart(tmp_path: Path) -> None:
    reply = Reply(json.dumps({"candidates": [TRUTH.reporter]}))
    with AnthropicServer(lambda request: reply) as server:
        model = ChatAnthropic(model="claude-a", base_url=server.url, api_key="none", max_retries=0)
        with opened(tmp_path, model) as lab:
            loop = loop_of(lab)
            loop.begin(target=SIM)
            done = loop.record(results_file(tmp_path, loop.ask(BATCH, propose=True).genes))
    assert (done.proposed, done.proposed_hits) == (1, 1)


def test_the_question_is_short_and_shows_no_untested_score() -> None:
    library = TRUTH.screen("sim", 1).library
    told = [{"gene": g, "score": MEASURED[g], "hit": HITS[g]} for g in TRUTH.genes[:250]]
    ranked = [{"gene": g, "rank_trees": "0.5"} for g in TRUTH.genes[250:]]
    text = question("a task", library, told, ranked, 3, 96)
    assert len(text.splitlines()) < 260
    assert "at most 24 are taken" in text
    assert hear('{"candidates": ["g1", "G1"]}', library).proposal.candidates == ("G1",)


# ---- the command line


def cli(folder: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments, "--store", str(folder / "cli.db")])


def test_the_command_prints_a_table_and_takes_results_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    library = tmp_path / "library.csv"
    library.write_text("gene\n" + "\n".join(TRUTH.genes))
    (tmp_path / "sets.csv").write_text(
        "set,gene\n" + "\n".join(f"{s},{g}" for s, gs in TRUTH.knowledge.sets.items() for g in gs)
    )
    named = (
        "--library",
        "library.csv",
        "--features",
        "sets.csv",
        "--task",
        "what moves the reporter",
        "--feedback",
        "hit",
    )
    first = cli(tmp_path, "next", "--batch", str(BATCH), *named)
    assert first.exit_code == 0, first.output
    rows = first.stdout.splitlines()
    assert len(rows) == BATCH + 1
    assert rows[0].startswith("position,gene,score,rank_prior")
    genes = [r.split(",")[1] for r in rows[1:]]
    done = cli(tmp_path, "record", str(results_file(tmp_path, genes)))
    assert done.stdout == f"round 1: {BATCH} results recorded, {sum(HITS[g] for g in genes)} of them hits\n"
    second = cli(tmp_path, "next", "--batch", str(BATCH), "--json")
    picks = json.loads(second.stdout)
    assert picks["round"] == 2
    assert not {p["gene"] for p in picks["picks"]} & set(genes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("next", "--batch", "8"), "screens nothing yet"),
        (("next", "--batch", "8", "--library", "absent.csv"), "no such file"),
        (("next", "--batch", "8", "--library", "a.csv", "--screen", "IL2"), "not both"),
        (
            ("next", "--batch", "8", "--screen", "sim?genes=300", "--planner", "offline"),
            "knows nothing about genes",
        ),
        (("next", "--batch", "900", "--screen", "sim?genes=300"), "more than the 300 genes"),
        (("next", "--batch", "8", "--screen", "sim?genes=300", "--picker", "bst"), "no picker 'bst'"),
        (("record", "results.csv"), "begin with: agentkit gene next"),
    ],
)
def test_misuse_is_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    result = cli(tmp_path, *arguments)
    assert isinstance(result.exception, AgentkitError)
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_batch_that_is_not_whole_is_never_recorded(tmp_path: Path) -> None:
    with opened(tmp_path) as lab:
        loop = loop_of(lab)
        loop.begin(target=SIM)
        for genes in (["G1", "G1", "G2"], ["G1", "G2"], ["G1", "G2", "NOSUCH"]):
            rows = tuple({"gene": g} for g in genes)
            with pytest.raises(LoopStateError, match="nothing was recorded"):
                loop._require_valid(Asked(1, 3, rows, "", "R1"))
