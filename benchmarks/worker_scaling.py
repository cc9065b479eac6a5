"""What the second worker is worth: the same sweep on one and on two local workers, one thread each.

    python benchmarks/worker_scaling.py [--quick] [--tool work|minilm]

`minilm` scans all 72 heads of MiniLM (needs the extra `text` and its weights package); `work` multiplies matrices and
needs nothing. Jobs take at least half a second. Bar: speed-up >= 1.7 on a machine with two free cores. The tables must
be equal to the bit. Exit code 1 on a miss.

A speed-up below two has three causes, and each is printed: the workers compete (two of them need more CPU seconds for
the same jobs than one), they wait for work, or the machine gives its cores to others (CPU seconds they got of the wall
seconds they were there).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import NamedTuple

from worker_common import PLUGINS, drive, job, machine, verdict, workers

from agentkit.workers import Event, JobSpec, merge, watch

BAR = 1.7


def question(name: str, units: int) -> JobSpec:
    """The whole sweep as one job."""
    if name == "work":
        return job("bench.work", units=units, seconds=0.5)
    scan = job("attention.perturb_heads", units=units)
    return scan.model_copy(update={"resources": scan.resources.model_copy(update={"cpus": 1})})


class Sweep(NamedTuple):
    """Wall seconds of a sweep, CPU seconds of its workers, seconds in which they had a job, and its table."""

    wall: float
    cpu: float
    busy: float
    table: object

    def line(self, count: int) -> str:
        """What the workers' time went to."""
        return (
            f"{count} worker{'s' * (count > 1)} {self.wall:6.2f} s, CPU {self.cpu:6.2f} s, "
            f"had a job {self.busy / self.wall / count:4.0%}, had a core {self.cpu / self.busy:4.0%} of that"
        )


def cpu_seconds_of_children() -> float:
    """What all processes that this one has started have used so far."""
    ticks, parents = 0, {os.getpid()}
    for process in sorted(watch.processes(0), key=lambda p: p.pid):
        if process.parent in parents:
            parents.add(process.pid)
            text = (watch.PROC / str(process.pid) / "stat").read_text(errors="replace")
            ticks += sum(int(n) for n in text[text.rindex(")") + 2 :].split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def measured(whole: JobSpec, count: int) -> Sweep:
    """The sweep on `count` warm workers."""
    executor = workers(f"local:{count}")
    parts = []
    try:
        warm = [
            whole.only([unit]).model_copy(update={"run": f"warm{i}"})
            for i, unit in enumerate(whole.units[:count])
        ]
        drive(executor, warm)

        busy = 0.0

        def keep(event: Event) -> None:
            nonlocal busy
            if event.kind == "units":
                parts.append(event.table())
            elif event.kind == "end":
                busy += event.data["seconds"]

        jobs = [whole.only([unit]) for unit in whole.units]
        begin, before = time.perf_counter(), cpu_seconds_of_children()
        drive(executor, jobs, keep)
        wall, cpu = time.perf_counter() - begin, cpu_seconds_of_children() - before
        return Sweep(wall, cpu, busy, merge(parts))
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
        one, two = measured(whole, 1), measured(whole, 2)
        if one.table != two.table:
            sys.exit("one and two workers gave different numbers")
        print(f"{given.tool}: {len(whole.units)} jobs   {one.line(1)}")
        print(
            f"{' ' * len(given.tool)}  {one.wall / two.wall:.2f}x    {two.line(2)}; {two.cpu / one.cpu:.2f} of the CPU"
        )
        best = max(best, one.wall / two.wall)
    sys.exit(0 if verdict("speed-up of two workers (best round)", best, "x", at_least=BAR) else 1)


if __name__ == "__main__":
    main()
