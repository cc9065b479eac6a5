"""A study that is killed again and again ends as if nothing had happened (a short run of the committed benchmark)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "study_kills.py"


def test_killing_driver_and_workers_loses_nothing_doubles_nothing_and_changes_no_verdict():
    command = [sys.executable, str(SCRIPT), "--kills", "8", "--seed", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIGKILLs: " in done.stdout
    for fault in (
        "units without an outcome",
        "outcomes recorded twice",
        "units failed",
        "verdicts that differ",
    ):
        assert f"{fault}: 0" in done.stdout
