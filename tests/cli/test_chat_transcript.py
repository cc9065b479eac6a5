"""The chat that the README shows is what a real chat prints, but for times and ids."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.transcript import normalised, transcript

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
SHOWN = re.search(r"^```text\n(\$ agentkit chat\n.*?)^```$", README, flags=re.M | re.S)


def shape(text: str) -> list[str]:
    """Its lines without numbers and columns, runs of batches once: what another version or processor may change."""
    lines = [
        re.sub(r"[\s─]+", " ", re.sub(r"[−+±]?\d+(\.\d+)?", "#", line)).strip() for line in text.splitlines()
    ]
    return [line for line, before in zip(lines, ["", *lines], strict=False) if line != before]


def test_the_shown_chat_is_normalised_and_ends_in_a_verdict_with_interval_and_n():
    assert SHOWN is not None
    assert normalised(SHOWN[1]) == SHOWN[1]
    assert re.search(r"^verdict H1: supported, −\d\.\d+ \[−.*\], n=\d+$", SHOWN[1], flags=re.M)


def test_a_real_chat_prints_what_is_shown(tmp_path, monkeypatch):
    pytest.importorskip("sklearn", reason="digits: needs scikit-learn (extra `image`)")
    assert SHOWN is not None
    monkeypatch.chdir(tmp_path)
    assert shape(transcript()) == shape(SHOWN[1])  # to the letter: `python -m tests.cli.transcript`
