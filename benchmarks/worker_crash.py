"""Workers killed at random while 1 000 jobs run: what is lost, what is recorded twice, and what the peers do.

    python benchmarks/worker_crash.py [--quick] [--ray]

Ours: local:2, a lost attempt is sent again on the same seed under a new fence; an outcome is what a `units` event
with the newest fence brings. loky: a broken pool is replaced and everything without a result is submitted again.
Ray: `max_task_retries=2` of a bare actor that restarts. `executions` counts how often a job's body began (every pool
may run a job twice when a worker dies; a record may not be written twice). Bar: 0 lost, 0 duplicate. Exit code 1 on
a miss.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from worker_common import job, machine, verdict, workers
from worker_tools import peer_work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 0.002
RAY_SECONDS = 0.02
"""Longer, because an actor takes a second to come back and would otherwise see no kill."""


class Count(NamedTuple):
    """How a pool came through."""

    kills: int
    results: Counter[int]
    executions: int
    wall: float

    def line(self, name: str, jobs: int) -> str:
        """One row of the table."""
        lost = jobs - len(self.results)
        twice = sum(1 for n in self.results.values() if n > 1)
        return (
            f"{name:<14} {self.kills:4d} kills   {lost:3d} lost   {twice:3d} recorded twice   "
            f"{self.executions:5d} executions of {jobs}   {self.wall:6.1f} s"
        )


@contextmanager
def killer(pids: Callable[[], list[int]], every_s: float, most: int) -> Iterator[list[int]]:
    """SIGKILL one of `pids()` at random moments until the block ends."""
    killed: list[int] = []
    stop = threading.Event()
    rng = random.Random(0)

    def kill() -> None:
        while len(killed) < most and not stop.wait(rng.uniform(0.2, 1.8) * every_s):
            if alive := pids():
                pid = rng.choice(alive)
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                except ProcessLookupError:
                    continue

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


def ours(jobs: int, trace: Path, every_s: float, most: int) -> Count:
    """Attempts and fences as the driver keeps them."""
    executor = workers("local:2")
    results: Counter[int] = Counter()
    fence = dict.fromkeys(range(jobs), 1)

    def submit(index: int) -> None:
        whole = job("bench.work", units=jobs, seconds=SECONDS, trace=str(trace))
        one = whole.only([whole.units[index]])
        executor.submit(
            one.model_copy(update={"run": str(index), "attempt": fence[index], "fence": fence[index]})
        )

    begin = time.perf_counter()
    try:
        with killer(lambda: [w.pid for w in executor.capacity().workers if w.pid], every_s, most) as killed:
            for index in range(jobs):
                submit(index)
            open_jobs = jobs
            while open_jobs:
                for event in executor.events(1.0):
                    index = int(event.run)
                    if event.kind == "units" and event.fence == fence[index]:
                        results[index] += 1
                    elif event.kind == "end":
                        open_jobs -= 1
                        if event.data["units_left"]:
                            fence[index] += 1
                            open_jobs += 1
                            submit(index)
        return Count(len(killed), results, lines(trace), time.perf_counter() - begin)
    finally:
        executor.close()


def loky_pool(jobs: int, trace: Path, every_s: float, most: int) -> Count:
    """A fresh pool after each `TerminatedWorkerError`."""
    from loky import get_reusable_executor

    results: Counter[int] = Counter()
    current = [get_reusable_executor(max_workers=2)]
    begin = time.perf_counter()
    with killer(lambda: list(current[0]._processes or {}), every_s, most) as killed:
        while missing := [i for i in range(jobs) if i not in results]:
            current[0] = get_reusable_executor(max_workers=2)
            futures = {i: current[0].submit(peer_work, str(trace), i, SECONDS) for i in missing}
            for index, future in futures.items():
                try:
                    future.result()
                    results[index] += 1
                except Exception:  # noqa: BLE001 - whatever the broken pool raises
                    continue
    wall = time.perf_counter() - begin
    current[0].shutdown()
    return Count(len(killed), results, lines(trace), wall)


def ray_actors(jobs: int, trace: Path, every_s: float, most: int) -> Count:
    """Two restarting actors with Ray's own task retries."""
    from agentkit.workers import ray_cluster

    ray_cluster.start_cluster(2)  # before ray is imported, so that it asks for a token
    import ray

    class Actor:
        def pid(self) -> int:
            return os.getpid()

        def call(self, file: str, index: int, seconds: float) -> int:
            with open(file, "a") as stream:  # noqa: PTH123 - runs in the actor, needs nothing imported
                stream.write(f"{index}\n")
            time.sleep(seconds)
            return index

    kind = ray.remote(Actor)
    actors = [kind.options(max_restarts=-1, max_task_retries=2).remote() for _ in range(2)]

    def pids() -> list[int]:
        ready, _ = ray.wait([a.pid.remote() for a in actors], num_returns=1, timeout=1)
        return [ray.get(r) for r in ready]

    results: Counter[int] = Counter()
    begin = time.perf_counter()
    with killer(pids, every_s, most) as killed:
        calls = [actors[i % 2].call.remote(str(trace), i, RAY_SECONDS) for i in range(jobs)]
        for call in calls:
            try:
                results[ray.get(call)] += 1
            except ray.exceptions.RayError:
                continue
    wall = time.perf_counter() - begin
    ray.shutdown()
    return Count(len(killed), results, lines(trace), wall)


def lines(trace: Path) -> int:
    return len(trace.read_text().splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="200 jobs and 10 kills instead of 1000 and 50")
    parser.add_argument("--ray", action="store_true", help="also Ray's own retries (slow)")
    given = parser.parse_args()
    jobs, kills = (200, 10) if given.quick else (1000, 50)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        count = ours(jobs, Path(folder) / "ours", 0.15, kills)
        print(count.line("agentkit", jobs))
        print(loky_pool(jobs, Path(folder) / "loky", 0.15, kills).line("loky", jobs))
        if given.ray:
            print(ray_actors(jobs, Path(folder) / "ray", 0.3, kills).line("Ray retries", jobs))
    holds = verdict("jobs lost", jobs - len(count.results), "jobs", at_most=0)
    holds &= verdict("recorded twice", sum(1 for n in count.results.values() if n > 1), "jobs", at_most=0)
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
