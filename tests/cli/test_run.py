"""`agentkit run` from a study file to verdicts, report, log and verify."""

from __future__ import annotations

import json
import signal

import pytest

from tests.cli.conftest import start


def verdicts(text: str) -> list[tuple]:
    return [(v["label"], v["estimate"], v["lo"], v["hi"], v["units"]) for v in json.loads(text)["verdicts"]]


def test_a_study_ends_in_verdicts_a_report_and_a_ledger_that_verifies(write_study, agentkit, folder):
    code, out, err = agentkit("run", write_study(), "--json")
    assert code == 0, err
    result = json.loads(out)
    assert {v["label"] for v in result["verdicts"]} <= {
        "supported",
        "equivalent",
        "inconclusive",
        "contradicted",
    }
    assert any(v["label"] == "supported" for v in result["verdicts"])
    assert (folder / "out" / "report.md").exists()
    assert "<svg" in (folder / "out" / "report.html").read_text()
    assert "frozen   H1" in err, "what happens is told on stderr"
    assert "not a language model" in err

    code, out, err = agentkit("verify", "lab.db")
    assert code == 0, err
    assert out.startswith("ok: ")
    assert agentkit("verify", "lab.db", "--anchor", result["head"])[0] == 0

    code, out, _ = agentkit("log", "lab.db", "--json")
    (campaign,) = json.loads(out)
    assert campaign["head"] == result["head"]
    assert all(run["answered"] == run["units"] for run in campaign["runs"])

    code, out, err = agentkit("replay", "lab.db", "--hypothesis", "H1", "--units", "3", "--json")
    assert code == 0, err
    replayed = json.loads(out)
    assert (replayed["units"], replayed["largest_difference"], replayed["equal"]) == (3, 0.0, True)

    code, out, err = agentkit("export", "lab.db", "crate")
    assert code == 0, err
    assert (folder / "crate" / "ro-crate-metadata.json").exists()
    code, _, err = agentkit("export", "lab.db", "crate")
    assert (code, "not empty" in err) == (2, True)

    before = (folder / "out" / "report.html").read_bytes()
    code, out, err = agentkit("report", "lab.db", "--folder", "again")
    assert code == 0, err
    assert (folder / "again" / "report.html").read_bytes() == before, "a report is a function of the ledger"


def test_two_runs_of_one_study_give_the_same_verdicts_and_estimates_bit_for_bit(write_study, agentkit):
    first = agentkit("run", write_study("a.yaml", store="a.db", report="a"), "--json")
    second = agentkit("run", write_study("b.yaml", store="b.db", report="b"), "--json")
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert verdicts(first[1]) == verdicts(second[1])


def test_workers_do_not_show_in_the_verdicts(write_study, agentkit):
    inline = agentkit("run", write_study("a.yaml", store="a.db", report="a"), "--json")
    local = agentkit("run", write_study("b.yaml", store="b.db", report="b", workers="local:2"), "--json")
    assert (inline[0], local[0]) == (0, 0), inline[2] + local[2]
    assert verdicts(inline[1]) == verdicts(local[1])


def test_a_finished_study_is_not_run_again_by_accident_and_resume_changes_nothing(write_study, agentkit):
    path = write_study()
    first = agentkit("run", path, "--json")
    code, _, err = agentkit("run", path)
    assert code == 2
    assert "already holds" in err
    assert "--resume" in err
    resumed = agentkit("run", path, "--resume", "--json")
    assert resumed[0] == 0, resumed[2]
    assert json.loads(resumed[1])["verdicts"] == json.loads(first[1])["verdicts"]


def test_ctrl_c_leaves_a_study_that_resume_finishes_with_the_same_verdicts(write_study, agentkit, folder):
    calm = agentkit("run", write_study("calm.yaml", store="calm.db", report="calm"), "--json")
    path = write_study("stopped.yaml", store="stopped.db", report="stopped", workers="local:1")
    process = start(folder, "run", path)
    for line in process.stderr:
        if line.startswith("confirm"):
            process.send_signal(signal.SIGINT)
            break
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 130, rest
    assert "interrupted; what was recorded is kept" in rest
    code, out, err = agentkit("run", path, "--resume", "--json")
    assert code == 0, err
    assert verdicts(out) == verdicts(calm[1])


def test_a_budget_of_runs_stops_with_exit_3_and_keeps_what_was_recorded(write_study, agentkit, folder):
    from tests.cli.conftest import STUDY

    code, _, err = agentkit("run", write_study(text=STUDY + "budget: {runs: 2}\n"))
    assert code == 3
    assert "2 of 2 runs are spent" in err
    assert json.loads(agentkit("log", "lab.db", "--json")[1])[0]["runs"]
    code, _, err = agentkit("run", write_study(text=STUDY), "--resume")
    assert code == 0, err


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("tools", "list"), ("doctor",)])
def test_quick_commands_answer_on_stdout_alone(agentkit, arguments):
    code, out, err = agentkit(*arguments)
    assert (code, err) == (0, "")
    assert out


def test_tools_show_prints_params_with_ranges_metrics_and_needs(agentkit):
    code, out, _ = agentkit("tools", "show", "noise.text")
    assert code == 0
    assert "recall_at_1 [0, 1]" in out
    assert "typos | delete" in out
    code, out, _ = agentkit("tools", "show", "noise.text", "--json")
    assert json.loads(out)["params"]["properties"]["items"]["minimum"] == 1
