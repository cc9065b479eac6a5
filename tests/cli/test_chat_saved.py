"""What a tool saves is named where it was measured, and can be opened under its name."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from agentkit.cli.chat.said import Unsaid
from agentkit.cli.chat.saved import saved_line
from agentkit.cli.chat.wrapping import Wrapped
from agentkit.testing.replies import Call, Reply
from tests.cli.chat_kit import LOOK, of, register

SAVES = """
    ctx.artifact("levels.csv", [{"unit": u.index, "level": round(u.rng("level").random(), 6)} for u in units])
    ctx.artifact("same.txt", "what every job says")
    ctx.artifact("../../out of place.txt", "a name is never a path")
    return table.build()"""
STUDY = [
    Reply("", [LOOK]),
    Reply("", [register()]),
    Reply("", [Call("run_batch", {"hypothesis": "H1", "units": 40})]),
    Reply("", [Call("run_batch", {"hypothesis": "H1", "units": 40})]),
    Reply("", [Call("stop", {"hypothesis": "H1"})]),
    Reply("", [Call("report")]),
    Reply("done"),
]


@pytest.fixture
def saving(chat, tmp_path):
    plugin = tmp_path / "tiny_plugin.py"
    plugin.write_text(plugin.read_text().replace("\n    return table.build()", SAVES))
    return chat


def test_a_run_names_the_files_of_its_tool_and_each_opens_with_its_own_content(saving, tmp_path):
    events, code, err = saving(["go"], "--approve", "auto", script=STUDY)
    assert (code, err) == (0, "")
    explored, *confirmed = of(events, "run")
    assert len(confirmed) == 2
    for run in (explored, *confirmed):
        names = [a["name"] for a in run["artifacts"]]
        assert set(names) == {"levels.csv", "same.txt", "../../out of place.txt"}
        assert names.count("same.txt") == 1, "equal files of several jobs are one"
        assert len({a["path"] for a in run["artifacts"]}) == len(names)
        for file in run["artifacts"]:
            path = tmp_path / file["path"]
            assert path.resolve().parent == tmp_path / "lab.report" / "default" / "runs" / run["run"]
            assert (
                path.read_bytes() == (tmp_path / f"lab.artifacts/{file['sha256']}{path.suffix}").read_bytes()
            )
    units = [
        int(row["unit"])
        for file in explored["artifacts"]
        if file["name"].startswith("levels")
        for row in csv.DictReader((tmp_path / file["path"]).read_text().splitlines())
    ]
    assert sorted(units) == [0, 1, 2, 3], "files of one name and other content all stay"


def test_a_copy_that_somebody_changes_leaves_the_kept_file_as_it_was(saving, tmp_path):
    events, _, _ = saving(["go"], script=[Reply("", [LOOK]), Reply("done")])
    (run,) = of(events, "run")
    file = next(a for a in run["artifacts"] if a["name"] == "same.txt")
    with (tmp_path / file["path"]).open("a") as copy:
        copy.write("more")
    assert (tmp_path / f"lab.artifacts/{file['sha256']}.txt").read_text() == "what every job says"


def test_people_read_one_line_after_an_exploration_and_one_for_all_batches(saving):
    out, code, _ = saving(["go", "/why R1"], "--approve", "auto", script=STUDY, json_lines=False)
    assert code == 0
    lines = [line for line in out.splitlines() if line.startswith(("  saved", "saved"))]
    explored, confirmed, why = lines
    assert explored.startswith("  saved  ")
    assert explored.endswith("in lab.report/default/runs/R1")
    assert "levels.csv (" in explored, "each job drew its own"
    assert confirmed.endswith("each in lab.report/default/runs")
    assert why.endswith("in lab.report/default/runs/R1")


def test_a_verdict_is_said_once_with_the_numbers_of_the_report(saving):
    out, _, _ = saving(["go"], "--approve", "auto", script=STUDY, json_lines=False)
    (verdict,) = [line for line in out.splitlines() if line.startswith("verdict H1")]
    numbers = verdict.partition(", ")[2]
    last = [line for line in out.splitlines() if "  H1  " in line][-1]
    assert numbers in last, "the last batch rounds as the verdict does"
    without_report = [*STUDY[:5], Reply("done")]
    out, _, _ = saving(
        ["go"], "--approve", "auto", "--store", "other.db", script=without_report, json_lines=False
    )
    assert sum(line.startswith("verdict H") for line in out.splitlines()) == 1


def test_many_files_are_counted_and_nothing_saved_is_no_line():
    files = [{"name": f"f{i}.csv", "path": f"folder/R1/f{i}.csv"} for i in range(9)]
    line = saved_line([{"run": "R1", "artifacts": files}])
    assert line == f"f0.csv, f1.csv, f2.csv, f3.csv, f4.csv and 4 more  in {Path('folder/R1')}"
    assert saved_line([{"run": "R1", "artifacts": []}, {"run": "R2"}]) == ""


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_plan_is_three_aligned_lines_however_its_words_arrive(piece):
    plan = "plan  look: a.tool; data x; metric m [you: the metric]; explore 8 units, then metric; done"
    written = []
    view = Wrapped(written.append, None, 2)
    text = f"{plan}\nno plan; metric m; explore"
    for i in range(0, len(text), piece):
        view.add(text[i : i + piece])
    view.end()
    assert "".join(written).splitlines() == [
        "  plan  look: a.tool; data x;",
        "        metric m [you: the metric];",
        "        explore 8 units, then metric; done",
        "  no plan; metric m; explore",
    ]


@pytest.mark.parametrize("piece", [1, 5, 1000])
def test_a_line_that_was_told_is_not_said_again_and_every_other_word_is(piece):
    unsaid = Unsaid()
    unsaid.told.add("H1: supported: it is")
    text = "H1: supported: it is\nH1: supported: it is not\n\nH1: sup\nlast H1: supported: it is\nH1: supported: it is"
    shown = "".join(unsaid.pass_on(text[i : i + piece]) for i in range(0, len(text), piece)) + unsaid.end()
    assert shown == "H1: supported: it is not\n\nH1: sup\nlast H1: supported: it is\n"
    assert unsaid.pass_on("H1: s") + unsaid.end() == "H1: s"


def test_the_offline_planner_does_not_repeat_the_verdict_that_was_shown(chat):
    goal = "does tiny.shift raise the level of up? register and test it"
    out, code, _ = chat([], goal, command="ask", json_lines=False)
    assert code == 0
    judged = [line for line in out.splitlines() if line.startswith("verdict H")]
    assert judged, out
    assert sum("mean level" in line for line in out.splitlines()) == len(judged), "one sentence a verdict"
    assert "(estimate" not in out
