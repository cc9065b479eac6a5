"""Where a study ran never shows: the same measurements to the bit and the same verdicts on every backend."""

from __future__ import annotations

import importlib.util
import os
import signal

import pytest

BACKENDS = [
    "local:1",
    "local:2",
    pytest.param("ray", marks=pytest.mark.slow),  # a Ray cluster takes seconds to start
]


@pytest.mark.parametrize("workers", BACKENDS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own sockets
def test_a_study_gives_the_same_numbers_and_verdicts_wherever_it_runs(tmp_path, study, inline_study, workers):
    if workers == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("the extra 'ray' is not installed")
    verdicts, rows, _ = study(tmp_path, workers)
    assert rows == inline_study[1] and len(rows) > 100
    assert verdicts == inline_study[0]
    assert [v["label"] for v in verdicts] == ["supported", "equivalent"]


def test_killed_workers_change_no_verdict_and_no_number(tmp_path, study, tmp_path_factory):
    undisturbed = study(tmp_path_factory.mktemp("undisturbed"), "local:2", seconds=0.02)
    kills = []

    def kill(event):
        if event.kind == "started" and event.attempt == 1 and len(kills) < 8:
            kills.append(event.data["pid"])
            os.kill(event.data["pid"], signal.SIGKILL)

    verdicts, rows, lost = study(tmp_path, "local:2", on_event=kill, seconds=0.02)
    assert len(kills) == 8 and lost, "workers were killed in the middle of their jobs"
    assert (verdicts, rows) == undisturbed[:2]
