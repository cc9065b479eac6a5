"""10 000 durable measurements in batches of 20: this ledger against MLflow's SQLite store, taking turns.

    python benchmarks/ledger_append.py --mlflow-python OTHER_ENV/bin/python

MLflow pins its own dependencies, so it runs in an environment of its own
(`python -m venv E && E/bin/pip install mlflow-skinny==3.17.2 sqlalchemy alembic`). Both stores write with synchronous=FULL; the
ledger has its chain and its eight rules on, MLflow has neither. Each side works in turns of 50 batches, so that a busy
machine slows both. Bar: time <= 0.5 of MLflow's. Exit code 1 when it is missed, 2 when MLflow is not there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from store_write import outcomes, plugins

from agentkit.ledger import Ledger

MEASUREMENTS, BATCH, TURN = 10_000, 20, 50
BAR = 0.5

MLFLOW = """
import json, logging, sys, time
logging.disable(logging.CRITICAL)
import mlflow
from mlflow.entities import Metric
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
import sqlalchemy as sa
folder, batch = sys.argv[1], int(sys.argv[2])
store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", folder)
run = store.create_run(store.create_experiment("x"), "u", 0, [], "n").info.run_id
with store.engine.connect() as connection:
    synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
print(json.dumps({"version": mlflow.__version__, "synchronous": synchronous}), flush=True)
step = 0
for line in sys.stdin:
    made = []
    for _ in range(int(line)):
        made.append([Metric("score", 0.5, 1, step + i) for i in range(batch)])
        step += batch
    wall, cpu = time.perf_counter(), time.process_time()
    for metrics in made:
        store.log_batch(run, metrics, [], [])
    print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)
"""


class MlflowStore:
    """MLflow's SQLite store in its own interpreter, one turn a line."""

    def __init__(self, python: str, folder: str) -> None:
        self._child = subprocess.Popen(
            [python, "-c", MLFLOW, folder, str(BATCH)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        said = self._read()
        self.about = None if said is None else json.loads(said)

    def _read(self) -> str | None:
        assert self._child.stdout is not None
        while line := self._child.stdout.readline():
            if line.startswith(("{", "[")):
                return line
        return None

    def turn(self, batches: int) -> list[float]:
        """Wall and CPU seconds of that many batches."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{batches}\n")
        self._child.stdin.flush()
        said = self._read()
        assert said is not None, "MLflow's process ended"
        return json.loads(said)

    def close(self) -> None:
        """End it."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._child.wait()


class LedgerStore:
    """The ledger: a batch is 10 units x 2 conditions, one transaction."""

    def __init__(self, folder: str) -> None:
        self.ledger = Ledger(f"{folder}/lab.db")
        units = MEASUREMENTS // 2 + 2 * BATCH
        self._run = self.ledger.campaign("bench").start_explore(
            plugins(), "bench.noise", {}, units, targets={}
        )
        self._made = outcomes(self._run.units, ["baseline", "perturbed"])
        self._fence = self._run.begin_attempt("bench")
        self._next = 0

    def turn(self, batches: int) -> list[float]:
        """Wall and CPU seconds of that many batches."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(batches):
            self._run.record(self._fence, self._made[self._next : self._next + BATCH // 2])
            self._next += BATCH // 2
        return [time.perf_counter() - wall, time.process_time() - cpu]

    def close(self) -> None:
        """End it."""
        self.ledger.verify()
        self.ledger.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mlflow-python", default=sys.executable, help="interpreter that has mlflow")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = MlflowStore(options.mlflow_python, folder), LedgerStore(folder)
        if theirs.about is None:
            print(
                "MLflow is not there; run: pip install mlflow-skinny==3.17.2 sqlalchemy alembic (in its own environment)"
            )
            ours.ledger.close()
            return 2
        print(
            f"MLflow {theirs.about['version']}, synchronous={theirs.about['synchronous']} (2 = FULL); load {os.getloadavg()[0]:.1f}"
        )
        ours.turn(2), theirs.turn(2)  # warm-up
        sums = {"ledger": [0.0, 0.0], "MLflow": [0.0, 0.0]}
        for _ in range(MEASUREMENTS // (BATCH * TURN)):
            for name, store in (("ledger", ours), ("MLflow", theirs)):
                sums[name] = [a + b for a, b in zip(sums[name], store.turn(TURN), strict=True)]
        ours.close(), theirs.close()
    for name, (wall, cpu) in sums.items():
        print(f"{name}  {MEASUREMENTS / wall:10,.0f} measurements/s   {wall:6.2f} s wall   {cpu:6.2f} s CPU")
    ratio, cpu_ratio = (sums["ledger"][i] / sums["MLflow"][i] for i in (0, 1))
    print(
        f"time ratio {ratio:.3f} wall, {cpu_ratio:.3f} CPU; bar {BAR}: {'met' if ratio <= BAR else 'MISSED'}"
    )
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
