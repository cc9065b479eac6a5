"""Ctrl-C while a planner works: the first ends the running jobs, the next (or the first, when none runs) ends the turn."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from agentkit.agent.toolbox import Toolbox


class Interrupts:
    """Takes over SIGINT inside a `with` block on the main thread.

    Raises:
        KeyboardInterrupt: on the main thread, when the turn shall end; no further job of it is started.
    """

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self._before: Any = None

    def __enter__(self) -> Self:
        self._toolbox.refuse_runs(False)
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, *_: object) -> None:
        # nothing is printed here: the signal may have come in the middle of a write
        if self._toolbox.cancel():
            return
        self._toolbox.refuse_runs(True)
        raise KeyboardInterrupt
