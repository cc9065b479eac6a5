"""Memory: what driver and child hold, whether a child grows over 1 000 jobs, and whether the warm cap holds.

    python benchmarks/worker_memory.py [--quick]

Bars: torch is not in the driver's `sys.modules`; a child grows by at most 5 % between job 100 and job 1 000; three
targets of 64 MiB under a cap for two never hold more than one target above the cap. Exit code 1 on a miss.
"""

from __future__ import annotations

import argparse
import sys

from worker_common import drive, job, machine, verdict, workers

from agentkit.workers import Event, watch

BLOCK = 64 << 20
MEMORY = 2 << 30


def growth(jobs: int, warm_up: int) -> tuple[float, float, float]:
    """MiB of driver and child after the warm-up, and the child's growth in percent."""
    executor = workers("local:1")
    try:
        drive(executor, [job("bench.noop", run=f"w{i}") for i in range(warm_up)])
        driver, before = watch.resident_bytes(), executor.capacity().workers[0].rss
        drive(executor, [job("bench.noop", run=str(i)) for i in range(jobs)])
        after = executor.capacity().workers[0].rss
        return driver / 2**20, before / 2**20, (after / before - 1) * 100
    finally:
        executor.close()


def most_warm() -> int:
    """Largest bytes of warm targets after any job, three targets in turn under a cap for two."""
    executor = workers("local:1", memory=MEMORY, warm=2 * BLOCK / MEMORY)
    seen = [0]

    def look(event: Event) -> None:
        if event.kind == "end":
            if event.data["status"] != "ok":
                sys.exit(f"{event.data['status']}: {event.data['message']}")
            seen.append(executor.capacity().workers[0].warm_bytes)

    try:
        for i in range(9):
            drive(executor, [job("bench.hold", run=str(i), target=f"block:{i % 3}")], look)
    finally:
        executor.close()
    return max(seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="200 jobs instead of 1000")
    given = parser.parse_args()
    print(machine())
    driver, child, percent = growth(200 if given.quick else 1000, 100)
    print(f"driver {driver:.0f} MiB, child {child:.0f} MiB (no torch in either)")
    holds = verdict(
        "torch or ray in the driver", len({"torch", "ray"} & set(sys.modules)), "modules", at_most=0
    )
    holds &= verdict("growth of a child", percent, "%", at_most=5)
    holds &= verdict(
        "warm targets above a cap for two", (most_warm() - 2 * BLOCK) / BLOCK, "targets", at_most=1
    )
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
