"""What the second worker is worth: the same sweep on one and on two local workers, one thread each.

    python benchmarks/worker_scaling.py [--quick] [--tool work|minilm]

`minilm` scans all 72 heads of MiniLM (needs the extra `text` and its weights package); `work` multiplies matrices and
needs nothing. Jobs take at least half a second. Bar: speed-up >= 1.7 on a machine with two free cores; on a busy one
the figure says how busy. The tables must be equal to the bit. Exit code 1 on a miss.
"""

from __future__ import annotations

import argparse
import sys
import time

from worker_common import PLUGINS, drive, job, machine, verdict, workers

from agentkit.workers import Event, JobSpec, merge

BAR = 1.7


def question(name: str, units: int) -> JobSpec:
    """The whole sweep as one job."""
    if name == "work":
        return job("bench.work", units=units, seconds=0.5)
    scan = job("attention.perturb_heads", units=units)
    return scan.model_copy(update={"resources": scan.resources.model_copy(update={"cpus": 1})})


def measured(whole: JobSpec, count: int) -> tuple[float, object]:
    """Wall seconds of the sweep on `count` warm workers, and its table."""
    executor = workers(f"local:{count}")
    parts = []
    try:
        warm = [
            whole.only([unit]).model_copy(update={"run": f"warm{i}"})
            for i, unit in enumerate(whole.units[:count])
        ]
        drive(executor, warm)

        def keep(event: Event) -> None:
            if event.kind == "units":
                parts.append(event.table())

        jobs = [whole.only([unit]) for unit in whole.units]
        begin = time.perf_counter()
        drive(executor, jobs, keep)
        return time.perf_counter() - begin, merge(parts)
    finally:
        executor.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="8 jobs and one round instead of 16 and three")
    parser.add_argument("--tool", choices=["work", "minilm"], default="work")
    given = parser.parse_args()
    print(machine())
    if given.tool == "minilm" and "attention.perturb_heads" not in PLUGINS.tools:
        sys.exit("attention.perturb_heads is not installed")
    whole = question(given.tool, 8 if given.quick else 16)
    best = 0.0
    for _ in range(1 if given.quick else 3):
        one, first = measured(whole, 1)
        two, second = measured(whole, 2)
        if first != second:
            sys.exit("one and two workers gave different numbers")
        print(
            f"{given.tool}: {len(whole.units)} jobs   1 worker {one:6.2f} s   2 workers {two:6.2f} s   {one / two:.2f}x"
        )
        best = max(best, one / two)
    sys.exit(0 if verdict("speed-up of two workers (best round)", best, "x", at_least=BAR) else 1)


if __name__ == "__main__":
    main()
