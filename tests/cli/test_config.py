"""Options said once: which place is heard first, what is refused and where, and that no secret is shown."""

from __future__ import annotations

import json

import pytest
import typer

from agentkit.cli import config
from agentkit.cli.main import app

TOML = 'store = "mine.db"\nworkers = "inline"\n\n[budget]\nruns = 3\nseconds = 2.5\n'


@pytest.fixture
def quiet(folder, monkeypatch):
    """A folder, and a user's own folder, with no option said anywhere."""
    for key in config.KEYS:
        monkeypatch.delenv(key.env, raising=False)
    monkeypatch.setattr(typer, "get_app_dir", lambda name: str(folder / "home" / name))
    return folder


def shown(agentkit) -> dict[str, list[str]]:
    code, out, _ = agentkit("config", "show", "--origin", "--json")
    assert code == 0
    return {name: [str(s["value"]), s["origin"]] for name, s in json.loads(out).items()}


def test_every_place_is_heard_before_the_next(quiet, agentkit, monkeypatch):
    own = quiet / "home" / "agentkit" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text('store = "own.db"\ncampaign = "own"\nplanner = "offline"\napprove = "auto"\n')
    (quiet / "pyproject.toml").write_text(
        '[tool.agentkit]\nstore = "py.db"\ncampaign = "py"\nplanner = "offline"\n'
    )
    (quiet / "agentkit.toml").write_text('store = "project.db"\ncampaign = "project"\n')
    monkeypatch.setenv("AGENTKIT_STORE", "env.db")
    found = shown(agentkit)
    assert found["store"] == ["env.db", "environment AGENTKIT_STORE"]
    assert found["campaign"] == ["project", "agentkit.toml"]
    assert found["planner"] == ["offline", "pyproject.toml"]
    assert found["approve"] == ["auto", str(own)]
    assert found["workers"] == ["local", "built in"]


def test_a_command_uses_what_a_file_says_and_a_flag_comes_first(quiet, agentkit):
    (quiet / "agentkit.toml").write_text(TOML)
    run = (
        "tools",
        "run",
        "noise.text",
        "-p",
        "target=py:pairs_encoder:make",
        "-p",
        "items=2",
        "--units",
        "1",
    )
    assert agentkit(*run, "-p", "strengths=[0.4]", "-p", "candidates=20")[0] == 0
    assert (quiet / "mine.db").exists()
    assert "R1" in agentkit("log")[1]
    code, _, err = agentkit("log", "other.db")
    assert code == 2 and "other.db" in err


def test_a_study_comes_before_files_which_fill_what_it_leaves_out(quiet, agentkit, write_study):
    (quiet / "agentkit.toml").write_text(TOML)
    study = "explore:\n- {tool: noise.text, params: {target: 'py:pairs_encoder:make', items: 2, candidates: 20, strengths: [0.4]}, units: 1}\n"
    write_study(text=study)
    assert agentkit("run", "study.yaml")[0] == 0
    assert (quiet / "mine.db").exists()
    write_study("own.yaml", text=study + "store: own.db\n")
    assert agentkit("run", "own.yaml")[0] == 0
    assert (quiet / "own.db").exists()


def test_caps_of_a_file_end_a_study_that_says_none(quiet, agentkit, write_study):
    (quiet / "agentkit.toml").write_text('workers = "inline"\nbudget.runs = 0\n')
    write_study(
        text="explore:\n- {tool: noise.text, params: {target: 'py:pairs_encoder:make', items: 2, candidates: 20}, units: 1}\n"
    )
    code, _, err = agentkit("run", "study.yaml")
    assert code == 3 and "runs" in err


BROKEN = {
    'store = "a.db"\nstoer = "b.db"\n': ["agentkit.toml:2", "no option 'stoer'", "'store'"],
    "[budget]\nrun = 3\n": ["agentkit.toml:2", "no option 'budget.run'", "'budget.runs'"],
    'store = "a.db"\nworkers = \n': ["agentkit.toml:2", "not TOML"],
    'store = "a.db\n': ["agentkit.toml:1", "not TOML"],
    "budget.runs = -1\n": ["agentkit.toml:1", "budget.runs", "from 0 on"],
    "[budget]\n\ntokens = true\n": ["agentkit.toml:3", "budget.tokens", "whole number"],
    "workers = 2\n": ["agentkit.toml:1", "workers", "a text"],
    'modules = "mine"\n': ["agentkit.toml:1", "modules", "list"],
    'anthropic_api_key = "sk-canary"\n': ["agentkit.toml:1", "environment alone"],
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_named_with_its_line_and_ends_the_command(quiet, agentkit, text):
    (quiet / "agentkit.toml").write_text(text)
    code, out, err = agentkit("config", "show")
    assert (code, out) == (2, "") and err.count("\n") == 1
    for words in BROKEN[text]:
        assert words in err
    assert "canary" not in err


def test_help_works_beside_a_broken_file(quiet, agentkit):
    (quiet / "agentkit.toml").write_text("= 3")
    assert agentkit("chat", "--help")[0] == 0


def test_somebody_elses_pyproject_is_not_read(quiet, agentkit):
    (quiet / "pyproject.toml").write_text("[project\n")
    assert agentkit("config", "show")[0] == 0


def test_a_password_in_a_store_is_never_shown(quiet, agentkit):
    (quiet / "agentkit.toml").write_text('store = "postgresql://me:canary@host/db"\n')
    code, out, _ = agentkit("config", "show", "--origin")
    assert code == 0 and "canary" not in out and "me:***@host" in out


def test_every_key_is_an_option_of_some_command():
    command = typer.main.get_command(app)

    def declared(part):
        yield from (p.envvar for p in part.params if isinstance(p.envvar, str))
        for sub in getattr(part, "commands", {}).values():
            yield from declared(sub)

    assert set(config.BY_ENV) == set(declared(command))
