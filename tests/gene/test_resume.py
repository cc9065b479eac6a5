"""Long simulations go on where they were killed, and a sweep split over real workers is the same table."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agentkit_gene.simulation import engine
from agentkit_gene.simulation.tools import screen
from tests.gene.kit import UNITS, Bench, run

if TYPE_CHECKING:
    from pathlib import Path

    from agentkit import Unit

WIDE = {"target": "grn:scalefree?genes=40&seed=2&types=3", "genes": "all", "readout": "G20", "cells": 64}


class Shelves(Bench):
    """A bench that keeps what tools ask it to, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf: dict[tuple[int, str], dict[str, Any]] = {}
        self.found = 0
        self.fail_after: int | None = None

    def keep(self, unit: Unit, name: str, arrays: dict[str, Any]) -> None:
        self.shelf[unit.seed, name] = {k: np.array(v) for k, v in arrays.items()}
        if self.fail_after is not None and len(self.shelf) >= self.fail_after:
            raise KeyboardInterrupt

    def kept(self, unit: Unit, name: str) -> dict[str, Any] | None:
        found = self.shelf.get((unit.seed, name))
        self.found += found is not None
        return found


@pytest.fixture
def everything_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "KEPT_SECONDS", 1e-9)


def test_a_screen_goes_on_from_the_chunks_it_had_and_gives_the_same_bits(everything_is_long: None) -> None:
    calm = run(screen, UNITS[:2], Shelves(), **WIDE)
    bench = Shelves()
    bench.fail_after = 4
    with pytest.raises(KeyboardInterrupt):
        run(screen, UNITS[:2], bench, **WIDE)
    bench.fail_after = None
    assert run(screen, UNITS[:2], bench, **WIDE) == calm
    assert bench.found == 4, "the four finished chunks were not simulated again"
    assert len(bench.shelf) == 6, "a chunk of 64 cells for each of 3 types and 2 units"


@pytest.mark.parametrize(
    "physics",
    [{"sampling": "spaced", "cells": 100}, {"physics": "cle", "layers": "mrna+protein"}, {"start": 3.0}],
)
def test_kept_chunks_hold_every_reading_and_species(
    everything_is_long: None, physics: dict[str, Any]
) -> None:
    asked = {**WIDE, "genes": ["G1", "G2", "G3"], **physics}
    plain = run(screen, UNITS[:1], **asked)
    bench = Shelves()
    assert run(screen, UNITS[:1], bench, **asked) == plain
    assert run(screen, UNITS[:1], bench, **asked) == plain and bench.found == len(bench.shelf) > 0


def test_short_simulations_keep_nothing() -> None:
    bench = Shelves()
    run(screen, UNITS[:1], bench, **{**WIDE, "genes": ["G1"]})
    assert not bench.shelf


IN_EVERY_WORKER = """
from agentkit_gene.simulation import engine
engine.KEPT_SECONDS = 0.2
"""

STUDY = """
import sys, agentkit
with agentkit.lab("lab.db", workers="local:2", modules=["short_chunks"]) as lab:
    table = lab.explore("gene.screen", units=2, campaign=lab.campaign("wide", seed=5),
        target="grn:scalefree?genes=150&seed=3&types=6", genes="all", readout="G75", cells=64)
    print(hash(tuple(table.rows())))
"""


def start(folder: Path) -> subprocess.Popen[str]:
    """The study in a session of its own."""
    (folder / "short_chunks.py").write_text(IN_EVERY_WORKER)
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
    }
    return subprocess.Popen(
        [sys.executable, "-c", STUDY],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="ends the driver's whole session")
def test_a_killed_wide_screen_resumes_from_what_its_workers_had_finished(tmp_path: Path) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    calm.mkdir()
    killed.mkdir()
    expected, said = start(calm).communicate(timeout=200)
    assert expected, said
    driver, partial = start(killed), killed / "lab.artifacts" / "partial"
    give_up = time.monotonic() + 100
    while len(list(partial.glob("*/[0-9]*"))) < 4:
        assert driver.poll() is None and time.monotonic() < give_up, "no chunk was kept while the study ran"
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    kept = list(partial.glob("*/[0-9]*"))
    assert kept
    for file in kept:  # what is made anew gets a later time than any of these
        os.utime(file, (1, 1))
    driver = start(killed)
    seen: dict[str, float] = {}
    while driver.poll() is None:
        for file in partial.glob("*/[0-9]*"):
            with contextlib.suppress(OSError):
                seen.setdefault(file.name, file.stat().st_mtime)
        time.sleep(0.02)
    again, said = driver.communicate()
    assert again == expected, said
    assert all(seen.get(file.name, 1) == 1 for file in kept), "a kept chunk was simulated again"
    assert not list(partial.glob("*/*")), "what was kept is removed once the units are answered"


def test_a_sweep_split_by_conditions_over_a_real_pool_is_the_same_table(tmp_path: Path) -> None:
    from agentkit.plugins import load_plugins
    from agentkit.workers import JobSpec, WorkersConfig, merge, open_executor, plan_shards

    plugins = load_plugins()
    tool, owner = plugins.tool("gene.screen"), plugins.owner("gene.screen")
    params = tool.parse({"target": "grn:ffl10", "readout": "G", "order": 2, "cells": 40}).model_dump(
        mode="json"
    )
    whole_table = run(screen, UNITS[:1], **{k: params[k] for k in ("target", "readout", "order", "cells")})
    names = tuple(c for c in whole_table.conditions if c != "baseline")
    whole = JobSpec(
        plugin=owner.name,
        tool=tool.name,
        version=tool.version,
        source_sha256=tool.source_sha256,
        params=params,
        units=UNITS[:1],
        conditions=names,
        targets=plugins.fingerprints(plugins.target_uris(params)),
        resources=tool.resources,
        run="split",
    )
    shards = plan_shards(whole, workers=2, splits_conditions=tool.splits_conditions)
    assert len(shards) == 2 and {c for s in shards for c in s.conditions or ()} == set(names)
    executor = open_executor(WorkersConfig.parse("local:2"), artifacts=tmp_path)
    parts, workers, left = [], set(), {s.job_id for s in shards}
    try:
        for shard in shards:
            executor.submit(shard)
        give_up = time.monotonic() + 120
        while left:
            assert time.monotonic() < give_up
            for event in executor.events(0.5):
                if event.kind == "units":
                    parts.append(event.table())
                    workers.add(event.worker)
                elif event.kind == "end":
                    assert event.data["status"] == "ok", event.data
                    left.discard(event.job_id)
    finally:
        executor.close()
    assert len(workers) == 2, "two processes shared the conditions of one unit"
    assert sorted(merge(parts, conditions=names, atol=tool.atol).rows()) == sorted(whole_table.rows())
