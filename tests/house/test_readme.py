"""Every snippet of the README is run or compared, so that none can rot."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentkit.study import load_study, parse_study

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)([^\n]*)\n(.*?)^```$", README, flags=re.M | re.S)


def blocks(language: str, mark: str = "") -> list[str]:
    return [body for kind, said, body in BLOCKS if kind == language and said.strip() == mark]


def test_every_block_is_of_a_kind_that_is_tested_here():
    assert {(kind, said.strip()) for kind, said, _ in BLOCKS} == {
        ("sh", ""), ("text", ""), ("python", ""), ("python", "plugin"), ("yaml", ""),
    }  # fmt: skip


def test_the_python_example_runs_and_ends_in_a_verdict(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("H1 ")
    assert lines[-1].split()[1] in {"supported", "inconclusive", "contradicted", "equivalent"}


def test_the_study_is_valid_and_names_an_installed_tool(tmp_path):
    from agentkit.plugins import installed_plugins

    (text,) = blocks("yaml")
    (claim,) = parse_study(text, "README.md").study.hypotheses
    tool = installed_plugins().tool(claim.tool)
    tool.parse(claim.params)
    assert tool.metric(claim.metric)


def test_the_plugin_is_the_very_file_of_the_example():
    (shown,) = blocks("python", "plugin")
    file = ROOT / "examples" / "agentkit-dropwords" / "agentkit_dropwords.py"
    assert shown == file.read_text()
    assert len([line for line in shown.splitlines() if line.strip()]) <= 25


def test_every_command_of_the_table_exists(capsys, monkeypatch):
    from agentkit.cli.main import main

    commands = set(re.findall(r"`agentkit (\w+)", README))
    assert {"run", "tools", "log", "verify", "report", "doctor"} <= commands
    for command in commands:
        monkeypatch.setattr("sys.argv", ["agentkit", command, "--help"])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code, f"README names agentkit {command}, which is not there"
        capsys.readouterr()


def test_the_map_of_the_house_names_files_that_exist():
    (*_, house) = blocks("text")
    for path in re.findall(r"(agentkit/[\w/]+(?:\.py)?|plugins/|prompts/agentkit_prompts)", house):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_study_is_valid(path):
    study = load_study(path).study
    from agentkit.plugins import installed_plugins

    for step in [*study.explore, *study.hypotheses]:
        tool = installed_plugins().tool(step.tool)
        tool.parse(step.params)
        assert step.metric is None or tool.metric(step.metric)


def test_every_make_target_that_is_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake (\w+)", README):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target
