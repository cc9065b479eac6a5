"""One progress bar on stderr for work that takes over two seconds; silent in a pipe."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from agentkit.workers import Event

QUIET_S = 2.0


class Progress:
    """Receives job events; draws one bar for the jobs that are running."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._began: dict[str, float] = {}
        self._live = sys.stderr.isatty()

    def __enter__(self) -> Self:
        if self._live:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
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
        key = f"{event.run}/{event.job_id}"
        if event.kind == "started":
            self._began[key] = time.monotonic()
        elif event.kind == "progress" and time.monotonic() - self._began.get(key, 0) > QUIET_S:
            done, total = event.data["done"], event.data["total"]
            if key not in self._tasks:
                self._tasks[key] = self._bars.add_task(event.run, total=total)
            self._bars.update(self._tasks[key], completed=done, total=total)
        elif event.kind == "end" and (task := self._tasks.pop(key, None)) is not None:
            self._bars.remove_task(task)
