"""From nothing to two workers that have each answered: ours, ProcessPoolExecutor(spawn), loky, Ray.

    python benchmarks/worker_start.py [--quick] [--no-ray]

Peers: pip install loky==3.7.0 ray==2.60.0. The peers' workers import this file's tools, ours also numpy and every
installed plugin. Bar: two local children <= 1 s without torch. Exit code 1 on a miss.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from worker_common import drive, job, machine, seconds, verdict, workers
from worker_tools import peer_noop

if TYPE_CHECKING:
    from collections.abc import Callable

BAR_S = 1.0


def ours(text: str) -> None:
    """Two jobs that occupy both workers."""
    executor = workers(text, count=2)
    try:
        drive(executor, [job("bench.work", run=str(i), seconds=0.01) for i in range(2)])
    finally:
        closing.append(executor.close)


def pool() -> None:
    executor = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    closing.append(executor.shutdown)
    list(executor.map(peer_noop, [[1], [2]]))


def loky_pool() -> None:
    from loky import ProcessPoolExecutor as Loky

    executor = Loky(2)
    closing.append(executor.shutdown)
    list(executor.map(peer_noop, [[1], [2]]))


closing: list[Callable[[], object]] = []
"""Ends are not part of the start."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="2 rounds instead of 5")
    parser.add_argument("--no-ray", action="store_true")
    given = parser.parse_args()
    print(machine())
    starts: dict[str, Callable[[], None]] = {
        "agentkit local:2": lambda: ours("local"),
        "ProcessPoolExecutor": pool,
        "loky": loky_pool,
    }
    taken: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(2 if given.quick else 5):
        for name, start in starts.items():
            taken[name].append(seconds(start))
            closing.pop()()
    if not given.no_ray:
        taken["agentkit ray"] = [seconds(lambda: ours("ray"))]
        closing.pop()()
    for name, each in taken.items():
        print(f"{name:<22} best {min(each):6.2f} s   worst {max(each):6.2f} s   ({len(each)} starts)")
    sys.exit(
        0
        if verdict("two local children (best start)", min(taken["agentkit local:2"]), "s", at_most=BAR_S)
        else 1
    )


if __name__ == "__main__":
    main()
