"""A small encoder of our own behind `py:`, so that whole studies run in seconds without a model."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.chat_kit import chat  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

ENCODER = '''
"""Letter-pair counts as an embedding: deterministic, and worse the more letters are wrong."""
import zlib
import torch

class Pairs:
    def encode(self, texts, batch_size=64):
        rows = torch.zeros(len(texts), 256)
        for i, text in enumerate(texts):
            for a, b in zip(" " + text.lower(), text.lower() + " "):
                rows[i, zlib.crc32((a + b).encode()) % 256] += 1
        return torch.nn.functional.normalize(rows, dim=1)

def make():
    return Pairs()
'''

STUDY = """
goal: how many typos does a letter-pair index tolerate?
campaign: {name: pairs, max_hypotheses: 10}
explore:
  - tool: noise.text
    params: {target: "py:pairs_encoder:make", strengths: [0.02, 0.1, 0.3, 0.6], items: 8, candidates: 40}
    units: 12
    metric: margin
    sesoi: 0.05
store: sqlite:///$STORE
report: $REPORT
workers: $WORKERS
seed: 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the encoder on the path of this process and of children."""
    (tmp_path / "pairs_encoder.py").write_text(ENCODER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield tmp_path
    sys.modules.pop("pairs_encoder", None)


@pytest.fixture
def write_study(folder):
    def write(
        name: str = "study.yaml", *, store="lab.db", report="out", workers="inline", text: str = STUDY
    ) -> Path:
        path = folder / name
        for word, value in {"$STORE": store, "$REPORT": report, "$WORKERS": workers}.items():
            text = text.replace(word, value)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def agentkit(capsys, monkeypatch):
    """Call the command line in this process: `code, stdout, stderr = agentkit("run", path)`."""
    from agentkit.cli.main import main

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["agentkit", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out = capsys.readouterr()
        return int(stop.value.code or 0), out.out, out.err

    return call


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """The command line in a process of its own, which hears Ctrl-C also where the tests run in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "agentkit.cli.main", *map(str, arguments)],
        cwd=folder,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
