"""One progress bar on stderr for each run that takes over two seconds; silent in a pipe."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from agentkit.workers import Event

QUIET_S = 2.0


@dataclass
class RunProgress:
    """How far the jobs of one attempt at a run are, counted in units.

    Units that have an outcome count whole; of the units that a job is at, the share that its tool tells of.
    """

    began: float = field(default_factory=time.monotonic)
    units: dict[str, int] = field(default_factory=dict)
    """Of each job that was queued."""
    answered: dict[str, int] = field(default_factory=dict)
    share: dict[str, float] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def take(self, event: Event) -> None:
        """Take in one event of one job."""
        job = event.job_id
        if event.kind == "queued":
            self.units[job] = event.data["units"]
        elif event.kind == "units":
            self.answered[job] = self.answered.get(job, 0) + len(event.data["units"])
            self.share[job] = 0.0
        elif event.kind == "progress":
            self.share[job] = event.data["done"] / max(1, event.data["total"])
        elif event.kind == "end":
            self.share[job] = 0.0
            self.ended.add(job)

    @property
    def done(self) -> float:
        """Units answered, with the shares of those that are being measured."""
        begun = (self.share.get(j, 0.0) * (n - self.answered.get(j, 0)) for j, n in self.units.items())
        return sum(self.answered.values()) + sum(begun)

    @property
    def total(self) -> int:
        """Units asked for."""
        return sum(self.units.values())

    @property
    def is_over(self) -> bool:
        """Whether every job has ended."""
        return self.ended >= set(self.units)


class Progress:
    """Receives job events; draws one bar for the run that is going on."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._runs: dict[str, RunProgress] = {}
        self._tasks: dict[str, Any] = {}
        self._live = sys.stderr.isatty()

    def __enter__(self) -> Self:
        if self._live:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f} units"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def line(self, text: str) -> None:
        """One line about what happened, above the bars."""
        if self._bars is not None:
            self._bars.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def __call__(self, event: Event) -> None:
        """Take in one event of a job."""
        if self._bars is None:
            return
        run = self._runs.setdefault(event.run, RunProgress())
        run.take(event)
        if run.is_over:
            del self._runs[event.run]
            if (task := self._tasks.pop(event.run, None)) is not None:
                self._bars.remove_task(task)
        elif time.monotonic() - run.began > QUIET_S:
            if event.run not in self._tasks:
                self._tasks[event.run] = self._bars.add_task(event.run, total=run.total)
            self._bars.update(self._tasks[event.run], completed=run.done, total=run.total)
