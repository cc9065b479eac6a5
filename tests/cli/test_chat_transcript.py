"""The chat that the documentation shows is what a real chat prints, but for times and ids."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.transcript import normalised, transcript

ROOT = Path(__file__).parents[2]
SHOWN = re.search(
    r"^```text\n(\$ agentkit chat\n.*?)^```$",
    (ROOT / "docs" / "chat.md").read_text("utf-8"),
    flags=re.M | re.S,
)


def test_the_shown_chat_is_normalised_and_ends_in_a_verdict_with_interval_and_n():
    assert SHOWN is not None
    assert normalised(SHOWN[1]) == SHOWN[1]
    assert re.search(r"^verdict H1: supported, −\d\.\d+ \[−.*\], n=\d+$", SHOWN[1], flags=re.M)


@pytest.mark.slow  # real sentences through MiniLM, about a minute of CPU; a changed plugin draws other seeds:
# write it anew with `python -m tests.cli.transcript`
def test_the_shown_chat_is_what_a_real_one_prints(tmp_path, monkeypatch):
    assert SHOWN is not None
    monkeypatch.chdir(tmp_path)
    assert transcript() == SHOWN[1]
