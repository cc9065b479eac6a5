"""The chat on a pseudo-terminal: question, plan, edit, approval, verdict, Ctrl-C, /why, and back with -c."""

from __future__ import annotations

import os
import re
import sys
import time

import pytest

from tests.cli.chat_kit import TINY

pexpect = pytest.importorskip("pexpect")
QUESTION = "does tiny.shift raise the level? register and test it"
SLOW = "look at tiny.shift with by 0.1, pause 0.5, 40 units"
CONTROL_C, CONTROL_D, CONTROL_S = "\x03", "\x04", "\x13"


class Screen:
    """A chat in a terminal of 100 columns; `shows` waits for words and gives what was printed before them."""

    def __init__(self, folder, *arguments) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AGENTKIT", "ANTHROPIC"))}
        env |= {
            "PYTHONPATH": str(folder),
            "HOME": str(folder),
            "TERM": "xterm-256color",
            "OMP_NUM_THREADS": "1",
        }
        env |= {"PROMPT_TOOLKIT_NO_CPR": "1"}
        env.pop("XDG_STATE_HOME", None)
        command = [
            "-m",
            "agentkit.cli.main",
            "chat",
            "--module",
            "tiny_plugin",
            "--workers",
            "local:1",
            *arguments,
        ]
        self._child = pexpect.spawn(
            sys.executable,
            command,
            cwd=str(folder),
            env=env,
            encoding="utf-8",
            timeout=60,
            dimensions=(40, 100),
        )

    def shows(self, words: str) -> str:
        self._child.expect(re.escape(words))
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", self._child.before + self._child.after)

    def prompt(self, after: str = "") -> str:
        """Everything up to the prompt that stands after an answer, which holds the words `after`."""
        return self.shows(after) + self.shows("you> ")

    def type(self, text: str) -> None:
        self._child.send(text)

    def line(self, text: str) -> None:
        self.type(text + "\r")
        self.shows(text[:20])

    def leave(self) -> int:
        self.type(CONTROL_D)
        self._child.expect(pexpect.EOF)
        self._child.close()
        return self._child.exitstatus


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny_plugin.py").write_text(TINY)
    return tmp_path


def test_a_chat_from_question_to_verdict_with_an_edit_a_cancelled_job_and_a_way_back(folder):
    screen = Screen(folder)
    banner = screen.prompt()
    assert "offline (rules and statistics, not a language model; set ANTHROPIC_API_KEY" in " ".join(
        banner.split()
    )
    assert "approval: ask" in banner

    screen.line(QUESTION)
    plan = screen.shows("[Y/n/edit]")
    assert "exploratory, never evidence" in plan
    assert "freeze this claim" in plan
    most = re.search(r"likely \d+ fresh units, at most (\d+)", plan)
    assert most, plan
    screen.type("edit\r")
    screen.shows(f"max_units: {most[1]}")
    screen.type("\x7f" * len(most[1]) + "zero" + CONTROL_S)
    assert "max_units" in screen.shows("Ctrl-C leaves it as it was")
    screen.shows("max_units: zero")
    screen.type("\x7f" * 4 + "20" + CONTROL_S)
    assert "would be refused: with 20 units" in screen.shows("[Y/n/edit]")
    screen.type("edit\r")
    screen.shows("max_units: 20")
    screen.type("\x7f\x7f" + "400" + CONTROL_S)
    assert "at most 400" in screen.shows("[Y/n/edit]"), "what is approved is what is shown"
    screen.type("y\r")
    answer = screen.prompt("report.html")
    assert "H1 frozen: tiny.shift" in answer
    assert "at most 400 units" in answer
    assert re.search(r"verdict H1: \w+, .*\[.*\], n=\d+", answer), answer
    assert "agentkit.report/default/report.html" in answer

    screen.line("/why H1")
    assert "approved by user (edited)" in screen.prompt("agentkit replay agentkit.db --hypothesis H1")

    screen.line(SLOW)
    screen.shows("pause=0.5")
    time.sleep(1.5)
    screen.type(CONTROL_C)
    assert "cancelled by the user" in screen.prompt("Say continue to go on")
    screen.line("/status")
    assert "confirming runs" in screen.prompt("planner offline")
    assert screen.leave() == 0

    again = Screen(folder, "-c")
    again.prompt("2 turns so far")
    again.line("/why H1")
    again.prompt("approved by user (edited)")
    assert again.leave() == 0
