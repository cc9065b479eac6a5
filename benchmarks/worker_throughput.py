"""How many tiny jobs a second go through two workers: recorded nowhere, recorded in a ledger, and through the peers.

    python benchmarks/worker_throughput.py [--quick]

Peers: ProcessPoolExecutor(spawn) and loky 3.7.0, which record nothing. Bar: >= 400 jobs/s unrecorded. Exit code 1
on a miss. Recording is bounded by the store (`store_write.py`), not by the workers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from worker_common import PLUGINS, drive, job, machine, seconds, verdict, workers
from worker_tools import peer_noop

from agentkit.agent.driver import Driver
from agentkit.ledger import Ledger

BAR = 400.0


def ours(count: int) -> tuple[float, float]:
    """Jobs a second of wall time, and driver CPU milliseconds a job."""
    executor = workers("local:2")
    try:
        drive(executor, [job("bench.noop", run=f"warm{i}") for i in range(4)])
        jobs = [job("bench.noop", run=str(i)) for i in range(count)]
        cpu = time.process_time()
        wall = seconds(lambda: drive(executor, jobs))
        return count / wall, (time.process_time() - cpu) / count * 1e3
    finally:
        executor.close()


def recorded(units: int) -> float:
    """Units a second when each run has one unit and all of it is written to a ledger."""
    executor = workers("local:2")
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "bench.db")
        try:
            campaign = ledger.campaign("bench")
            driver = Driver(executor, PLUGINS)
            drive(executor, [job("bench.noop", run="warm")])

            def study() -> None:
                for i in range(units // 20):
                    params = {"name": str(i)}
                    driver.finish(campaign.start_explore(PLUGINS, "bench.noop", params, 20, targets={}))

            return units / seconds(study)
        finally:
            executor.close()
            ledger.close()


def peer(name: str, count: int) -> float:
    """Tasks a second of a pool that records nothing."""
    if name == "loky":
        from loky import get_reusable_executor

        pool = get_reusable_executor(max_workers=2)
    else:
        pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    with pool:
        list(pool.map(peer_noop, [[i] for i in range(4)]))
        return count / seconds(
            lambda: [f.result() for f in [pool.submit(peer_noop, [i]) for i in range(count)]]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="200 jobs instead of 1000")
    given = parser.parse_args()
    count = 200 if given.quick else 1000
    print(machine())
    rate, cpu_ms = ours(count)
    print(
        f"agentkit local:2, unrecorded   {rate:8.0f} jobs/s   driver CPU {cpu_ms:.2f} ms a job   ({count} jobs)"
    )
    print(f"agentkit local:2, in a ledger  {recorded(count):8.0f} units/s  (runs of 20 units)")
    for name in ("ProcessPoolExecutor", "loky"):
        if name == "loky" and find_spec("loky") is None:
            print(f"{name:<30} not installed")
            continue
        print(f"{name:<30} {peer(name, count):8.0f} tasks/s")
    sys.exit(0 if verdict("unrecorded jobs", rate, "1/s", at_least=BAR) else 1)


if __name__ == "__main__":
    main()
