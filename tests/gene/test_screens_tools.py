"""The screen tools as users meet them: tables, evidence, files, refusals."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import ndtri

from agentkit import Tool, Unit
from agentkit.errors import AgentkitError, ParamError, TargetError
from agentkit.plugins import load_plugins
from agentkit_gene.loop.closed_loop import Pick
from agentkit_gene.screens.evidence import sentence
from agentkit_gene.screens.tools import features, loop, next_batch
from tests.gene.kit import Bench, run
from tests.gene.loop_kit import gene, toy_screen, toy_sources

if TYPE_CHECKING:
    from pathlib import Path

UNITS = tuple(Unit(index=i, seed=70 + i) for i in range(2))
SIM = "screen:sim?genes=400&seed=3"


class AnyTarget(Bench):
    """A context that loads the targets of this plugin."""

    plugins = load_plugins(modules=["agentkit_gene"], allow=["agentkit_gene"])

    def target(self, uri: str) -> Any:
        loader, rest = self.plugins.loader(uri)
        return loader.load(rest, "cpu")


def called(tool: Tool, units: tuple[Unit, ...] = UNITS[:1], **params: Any) -> tuple[Any, AnyTarget]:
    bench = AnyTarget()
    return run(tool, units, bench, **params), bench


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder with a library, its finished screen, gene sets and a graph, as a user has them."""
    screen = toy_screen(140)
    answers = screen.answer(screen.library.symbols)
    lines = [
        f"{g},{s!r},{int(h)}"
        for g, s, h in zip(answers.genes, answers.scores.tolist(), answers.hits, strict=True)
    ]
    (tmp_path / "screen.csv").write_text("gene,score,hit\n" + "\n".join(lines))
    (tmp_path / "screen.toml").write_text(
        'task = "genes that change cytokine output"\nessential = "essential.csv"\n'
    )
    (tmp_path / "essential.csv").write_text("gene\n" + "\n".join(gene(i) for i in range(0, 140, 7)))
    (tmp_path / "library.csv").write_text("gene\n" + "\n".join(answers.genes))
    (tmp_path / "results.csv").write_text(
        "gene,score,hit\n" + "\n".join(lines[:12] + lines[50:56] + lines[20:24])
    )
    sets, _, edges = toy_sources(140)[:3]
    (tmp_path / "go.gmt").write_text(
        "\n".join("\t".join([name, "", *genes]) for name, genes in sets.sets.items())
    )
    (tmp_path / "graph.sif").write_text("\n".join("\t".join(e) for e in edges.edges))
    return tmp_path


def test_a_comparison_leaves_tables_pictures_and_a_page_a_round() -> None:
    table, bench = called(loop, UNITS, target=SIM, pickers=["trees"], permuted=True, rounds=3, batch=16)
    assert table.conditions == ("baseline", "trees", "trees!permuted")
    pages = {f"{name}-round0{r}.txt" for name in ("trees", "trees!permuted") for r in (1, 2, 3)}
    assert {"runs.json", "summary.csv", "curves.png", "bars.png", "report.txt"} | pages == bench.files.keys()
    last = {r["condition"]: r for r in rows_of(bench.files["summary.csv"]) if r["round"] == "3"}
    for condition in table.conditions:
        assert float(last[condition]["hit_ratio"]) == pytest.approx(
            table.column("hit_ratio", condition).mean()
        )
    page = bench.files["report.txt"].read_text()
    row = next(line.split() for line in page.splitlines() if line.startswith("trees!permuted"))
    assert row[-2] == f"{table.column('hit_ratio', 'trees!permuted').mean():.3f}"
    assert row[-1] == f"({table.column('hit_ratio_nonessential', 'trees!permuted').mean():.3f})"
    assert "task: find the genes whose knock-out" in page
    runs = [r for r in json.loads(bench.files["runs.json"].read_text()) if r["condition"] == "trees"]
    second = [r for r in runs if r["unit"] == 0 and r["round"] == 2]
    lines = bench.files["trees-round02.txt"].read_text().splitlines()
    assert lines[0] == "Round 2: 16 genes by trees"
    assert lines[1].startswith(f"{sum(r['hit'] for r in second)} hits in this batch; ")
    best = next(line for line in lines if line.startswith("   1  "))
    assert best.split()[1] == second[0]["gene"]
    assert ("hit" in best.split()) == second[0]["hit"]
    assert bench.ticks[-1] == (3, 3)


def test_every_pick_keeps_evidence_from_which_its_score_can_be_rebuilt() -> None:
    _, bench = called(loop, target=SIM, rounds=3, batch=16)
    picks = [r for r in json.loads(bench.files["runs.json"].read_text()) if r["condition"] == "prior+ens"]
    assert len(picks) == 48
    taught = [p for p in picks if "trees" in p["components"]]
    assert taught
    for pick in picks:
        parts = {n: ndtri(v + 0.5 / 400) if pick in taught else v for n, v in pick["components"].items()}
        rebuilt = sum(pick["weights"][n] * v for n, v in parts.items())
        assert pick["score"] == pytest.approx(rebuilt, abs=1e-12)
        assert all(0 <= v <= 1 for v in pick["components"].values())
    assert any(p["sets"] and p["neighbours"] for p in taught)
    assert {p["position"] for p in picks if p["round"] == 2} == set(range(1, 17))


def test_the_sentence_holds_every_field_of_the_evidence() -> None:
    pick = Pick(
        "G7",
        2,
        3.5,
        {"trees": 0.996, "prior": 0.2},
        {"trees": 1.0, "prior": 0.5},
        (("set A", 2.0),),
        (("G1", 0.9),),
        True,
    )
    said = sentence(pick, 96, "prior+ens")
    assert said == (
        "G7 is pick 2 of 96 by prior+ens (score 3.500); it ranks top 0.4 % by trees, bottom 20.0 % by prior; gene sets that "
        "spoke for it: set A; tested hits or near hits like it: G1; a proposer named it."
    )


def test_true_feedback_earns_hits_over_permuted_feedback() -> None:
    table, _ = called(loop, UNITS, target="screen:sim?genes=600&seed=5", permuted=True, batch=32)
    assert (table.column("hit_ratio", "prior+ens") > table.column("hit_ratio", "prior+ens!permuted")).all()


def test_files_of_a_user_are_enough(lab: Path) -> None:
    features_ = [str(lab / "go.gmt"), f"ppi={lab / 'graph.sif'}"]
    table, _ = called(
        loop, UNITS, target=f"screen:{lab / 'screen.csv'}", features=features_, rounds=3, batch=8
    )
    assert "hit_ratio_nonessential" in table.metrics
    known, bench = called(features, target=f"screen:{lab / 'library.csv'}", features=features_)
    assert known.column("coverage", "baseline") == 1
    assert {"go", "ppi", "scalars"} == {r["block"] for r in rows_of(bench.files["blocks.csv"])}


def test_the_non_essential_ratio_is_absent_without_a_list_of_essential_genes(lab: Path) -> None:
    (lab / "screen.toml").unlink()
    table, _ = called(
        loop, target=f"screen:{lab / 'screen.csv'}", features=[str(lab / "go.gmt")], rounds=2, batch=8
    )
    assert table.metrics == ("hit_ratio", "auc", "hits")


def test_the_next_batch_is_the_same_from_a_file_and_from_rows(lab: Path) -> None:
    common = {
        "target": f"screen:{lab / 'library.csv'}",
        "features": [str(lab / "go.gmt")],
        "batch": 10,
        "feedback": "hit",
    }
    from_file, one = called(next_batch, results=str(lab / "results.csv"), **common)
    rows = [
        {"gene": r["gene"], "score": float(r["score"]), "hit": r["hit"] == "1"}
        for r in rows_of(lab / "results.csv")
    ]
    from_rows, two = called(next_batch, results=rows, **common)
    assert from_file == from_rows
    assert one.files["picks-u0.csv"].read_text() == two.files["picks-u0.csv"].read_text()
    picks = rows_of(one.files["picks-u0.csv"])
    assert len({p["gene"] for p in picks}) == 10
    assert not {p["gene"] for p in picks} & {r["gene"] for r in rows}
    assert all(p["gene"] in p["evidence"] for p in picks)
    assert from_file.column("picks", "prior+ens") == 10
    assert 0 <= from_file.column("agreement", "prior+ens")[0] <= 1


def test_a_changed_file_is_another_job(lab: Path) -> None:
    params = {
        "target": f"screen:{lab / 'library.csv'}",
        "features": [str(lab / "go.gmt")],
        "results": str(lab / "results.csv"),
    }
    plugins = AnyTarget.plugins
    uris = plugins.target_uris(next_batch.parse(params).model_dump(mode="json"))
    before = plugins.fingerprints(uris)
    (lab / "results.csv").write_text("gene,score\nGENE001,1.0\n")
    (lab / "go.gmt").write_text("s\t\tGENE001\tGENE002\tGENE003\n")
    after = plugins.fingerprints(uris)
    assert [u for u in uris if before[u] != after[u]] == [
        f"features:{lab / 'go.gmt'}",
        f"screen:{lab / 'results.csv'}",
    ]


def test_a_library_needs_no_score_and_its_answers_are_never_read(lab: Path) -> None:
    common = {"features": [str(lab / "go.gmt")], "batch": 6, "task": "genes that change cytokine output"}
    _, bare = called(next_batch, target=f"screen:{lab / 'library.csv'}", **common)
    _, finished = called(next_batch, target=f"screen:{lab / 'screen.csv'}", **common)
    genes = [[p["gene"] for p in rows_of(b.files["picks-u0.csv"])] for b in (bare, finished)]
    (lab / "screen.csv").write_text((lab / "screen.csv").read_text().replace(",-3", ",3"))
    _, changed = called(next_batch, target=f"screen:{lab / 'screen.csv'}", **common)
    assert genes[1] == [p["gene"] for p in rows_of(changed.files["picks-u0.csv"])]
    assert len(genes[0]) == 6


def test_a_proposal_travels_as_params_and_is_marked(lab: Path) -> None:
    proposals = {"candidates": ["gene059", "NOSUCH", "GENE001"], "seeds": ["GENE050"], "why": "a hunch"}
    _, bench = called(
        next_batch, target=f"screen:{lab / 'library.csv'}", features=[str(lab / "go.gmt")], batch=8, proposals=proposals,
        results=[{"gene": "GENE001", "score": 1.0}, {"gene": "GENE002", "score": 0.0}],
    )  # fmt: skip
    picks = rows_of(bench.files["picks-u0.csv"])
    assert picks[0]["gene"] == "GENE059"
    assert picks[0]["proposed"] == "1"
    evidence = json.loads(bench.files["evidence-u0.json"].read_text())
    assert [d[:2] for d in evidence["dropped"]] == [
        ["NOSUCH", "not in the library"],
        ["GENE001", "already tested"],
    ]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"pickers": ["prior+esn"]}, "no picker 'prior\\+esn'. Did you mean 'prior\\+ens'"),
        ({"rounds": 0}, "greater than or equal to 1"),
        ({"batch": 0}, "'batch'"),
        ({"batch": 5000}, "batch=5000 is more than the 400 genes"),
        ({"pickers": ["xprior+ens"]}, "transfer needs three things together"),
        ({"transfer": True}, "transfer needs three things together"),
        ({"quantile": 0.9}, "less than or equal to 0.5"),
    ],
)
def test_bad_params_of_a_comparison_are_one_clear_line(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamError, match=said) as error:
        called(loop, **{"target": SIM, **params})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("gene\nA\nB\n", "no score column, so there is nothing to replay"),
        ("gene,score\nA,1\nB,x\n", "column score, line 3: 'x' is no number"),
        ("gene,score\nA,1\nB,nan\n", "line 3: 'nan' is not finite"),
        ("gene,score,hit\nA,1,0\nA,2,0\nB,1,1\n", "A comes with different results on lines 2, 3"),
        ("gene,score\nA,1\nB,2\n", "no hit is marked"),
        ("gene,score,hit\nA,1,0\nB,2,0\n", "no hit is marked"),
        ("gene,score,hit\n", "no rows"),
    ],
)
def test_bad_screens_are_one_clear_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "s.csv").write_text(content)
    (tmp_path / "f.gmt").write_text("s\t\tA\tB\tC\n")
    with pytest.raises(AgentkitError, match=said) as error:
        called(
            loop, target=f"screen:{tmp_path / 's.csv'}", features=[str(tmp_path / "f.gmt")], rounds=1, batch=1
        )
    assert "\n" not in str(error.value)


def test_repeats_are_averaged_when_the_uri_says_so(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("gene,score,hit\nA,1,0\nA,2,0\nB,1,1\nC,0,0\n")
    table, _ = called(
        loop, target=f"screen:{tmp_path / 's.csv'}?duplicates=mean", pickers=["random"], rounds=1, batch=3
    )
    assert table.column("hit_ratio", "baseline") == 1


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([{"gene": "GENE999", "score": 1.0}], "'GENE999' is not in library"),
        ([{"gene": "GENE001", "score": 1.0}, {"gene": "gene001", "score": 2.0}], "has a result already"),
        ("no_results.csv", "no file 'no_results.csv'"),
        (SIM, "results are a table with the columns gene and score"),
    ],
)
def test_bad_results_are_one_clear_line(lab: Path, results: Any, said: str) -> None:
    with pytest.raises(AgentkitError, match=said):
        called(
            next_batch,
            target=f"screen:{lab / 'library.csv'}",
            features=[str(lab / "go.gmt")],
            results=results,
            batch=4,
        )


def test_features_that_are_none_say_which_file_and_line(lab: Path) -> None:
    (lab / "bad.gmt").write_text("only one field\n")
    with pytest.raises(TargetError, match=r"bad.gmt: line 1 has 1 fields"):
        called(features, target=f"screen:{lab / 'library.csv'}", features=[str(lab / "bad.gmt")])
    with pytest.raises(TargetError, match="no such file; give a .gmt"):
        called(features, target=f"screen:{lab / 'library.csv'}", features=[str(lab / "absent.gmt")])


def test_a_picker_without_knowledge_is_never_quietly_random(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_SCREEN_DATA", str(lab / "nowhere"))
    monkeypatch.setattr("agentkit_gene.loop.discovery.locate", lambda item: None)
    with pytest.raises(AgentkitError, match="pip install --no-deps"):
        called(loop, target=f"screen:{lab / 'screen.csv'}", rounds=1, batch=4)
    table, _ = called(loop, target=f"screen:{lab / 'screen.csv'}", pickers=["random"], rounds=1, batch=4)
    assert np.isfinite(table.array("hit_ratio")).all()


def test_pickers_compare_with_other_studies_only_when_told_which(lab: Path) -> None:
    (lab / "screen.toml").write_text('study = "mine"\n')
    (lab / "other.csv").write_text((lab / "screen.csv").read_text())
    (lab / "other.toml").write_text('study = "theirs"\n')
    params = {
        "target": f"screen:{lab / 'screen.csv'}", "features": [str(lab / "go.gmt")], "rounds": 2, "batch": 8,
        "pickers": ["xprior+ens"], "transfer": True, "studies": [f"screen:{lab / 'other.csv'}"],
    }  # fmt: skip
    table, _ = called(loop, **params)
    assert table.column("hit_ratio", "xprior+ens") > table.column("hit_ratio", "baseline")
    (lab / "other.toml").write_text('study = "mine"\n')
    with pytest.raises(AgentkitError, match="stud"):
        called(loop, **params)


@pytest.fixture(scope="module")
def act() -> Any:
    """The offline planner's first act on a request, with every installed tool at hand."""
    from types import SimpleNamespace

    from langchain_core.messages import HumanMessage
    from langchain_core.utils.function_calling import convert_to_openai_tool

    from agentkit.agent.graph import langchain_tools
    from agentkit.agent.offline.model import OfflinePlanner

    plugins = load_plugins()
    bound: dict[str, Any] = {}
    for name in sorted(plugins.tools):  # the graph binds a limited number at once
        toolbox: Any = SimpleNamespace(plugins=plugins, tool_names=[name], outside={})
        bound |= {t.name: convert_to_openai_tool(t) for t in langchain_tools(toolbox)}
    model = OfflinePlanner().bind(tools=list(bound.values()))

    def first(request: str) -> tuple[str, dict[str, Any]]:
        message = model.invoke([HumanMessage(request)])
        if not message.tool_calls:
            return str(message.content), {}
        return message.tool_calls[0]["args"]["tool"], message.tool_calls[0]["args"]["params"]

    return first


@pytest.mark.parametrize(
    ("request_", "tool", "params"),
    [
        (
            "Which 96 genes should I knock out next in screen:library.csv, given results.csv?",
            "gene.next",
            {"target": "screen:library.csv", "results": "results.csv", "batch": 96},
        ),
        (
            "suggest the next 48 genes to perturb from screen:IL2",
            "gene.next",
            {"target": "screen:IL2", "batch": 48},
        ),
        (
            "compare prior+ens with random on a simulated screen over 5 rounds and test whether it finds more hits",
            "gene.loop",
            {"pickers": ["prior+ens"]},
        ),
        (
            "On screen:sim, compare prior+ens with permuted feedback.",
            "gene.loop",
            {"target": "screen:sim", "pickers": ["prior+ens"], "permuted": True},
        ),
        (
            "On screen:my.csv, does prior+ens find more hits than random by at least 0.03 in 5 rounds of 128?",
            "gene.loop",
            {"target": "screen:my.csv", "pickers": ["prior+ens"], "rounds": 5, "batch": 128},
        ),
        ("How much is known about the genes of screen:sim?", "gene.features", {"target": "screen:sim"}),
    ],
)
def test_plain_requests_reach_the_tools(act: Any, request_: str, tool: str, params: dict[str, Any]) -> None:
    said, got = act(request_)
    assert said == tool
    assert got.items() >= params.items()


def test_the_planner_asks_for_the_library_it_needs(act: Any) -> None:
    said, _ = act("which genes should I knock out next?")
    assert "gene.next needs `target`" in said
