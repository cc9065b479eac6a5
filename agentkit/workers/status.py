"""What a running driver's workers are doing, told to other processes through a small file beside its artifacts."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from typing import TYPE_CHECKING

from agentkit.errors import AgentkitError
from agentkit.types import Frozen
from agentkit.workers.executor import Capacity  # noqa: TC001 - the type of a field
from agentkit.workers.watch import started_at

if TYPE_CHECKING:
    from pathlib import Path

    from agentkit.workers.executor import Executor

FOLDER = "drivers"
EVERY_S = 1.0
SILENT_S = 10.0
"""A driver of another machine that has not written for so long may be gone; only its own machine can tell."""

logger = logging.getLogger(__name__)


class RunStatus(Frozen):
    """The run that a driver is at: which, and how many of its units have an outcome."""

    run: str
    phase: str
    tool: str
    campaign: str
    done: int
    total: int
    seconds: float
    """Since this attempt began."""


class DriverStatus(Frozen):
    """One driver: who it is, when it last wrote, what it was at and what its workers did then."""

    pid: int
    started: int = 0
    """When the process began, in the kernel's ticks: another process may get the same id later."""
    host: str
    written_at: float
    capacity: Capacity
    run: RunStatus | None = None

    @property
    def age_s(self) -> float:
        """Seconds since it wrote."""
        return max(0.0, time.time() - self.written_at)

    @property
    def is_silent(self) -> bool:
        """Whether a driver that is at a run has not written for so long that it may be gone, or is stuck."""
        return self.run is not None and self.age_s > SILENT_S


class StatusFile:
    """Written by a driver at most once a second; removed when it closes.

    Args:
        artifacts: the driver's artifact folder.
    """

    def __init__(self, artifacts: Path) -> None:
        self._path = artifacts / FOLDER / f"{socket.gethostname()}-{os.getpid()}.json"
        self._last = float("-inf")
        self._shown: RunStatus | None = None

    def is_due(self) -> bool:
        """Whether an update would write; lets a caller prepare nothing for those that would not."""
        return time.monotonic() - self._last >= EVERY_S

    def update(self, executor: Executor, run: RunStatus | None = None, *, now: bool = False) -> None:
        """Write what the workers do; most calls return at once. A study never fails because of it."""
        if not now and not self.is_due():
            return
        self._last = time.monotonic()
        try:
            self._write(executor.capacity(), run)
        except (
            AgentkitError,
            OSError,
        ) as error:  # a lost cluster, a full disk: the driver will say so itself
            logger.debug("status file: %s", error)

    def rest(self, executor: Executor) -> None:
        """The driver is at no run now; written only where the file says otherwise."""
        if self._shown is not None:
            self.update(executor, now=True)

    def _write(self, capacity: Capacity, run: RunStatus | None) -> None:
        status = DriverStatus(
            pid=os.getpid(),
            started=started_at(os.getpid()),
            host=socket.gethostname(),
            written_at=time.time(),
            capacity=capacity,
            run=run,
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".part")
        temporary.write_text(status.model_dump_json())
        temporary.replace(self._path)
        self._shown = run

    def remove(self) -> None:
        """The driver is done."""
        self._path.unlink(missing_ok=True)


def running_drivers(artifacts: Path) -> list[DriverStatus]:
    """Drivers that use this folder now; files of drivers of this host that are gone are removed."""
    found = []
    for file in sorted((artifacts / FOLDER).glob("*.json")):
        try:
            status = DriverStatus.model_validate(json.loads(file.read_text()))
        except (OSError, ValueError):  # being replaced this moment, or not ours
            continue
        if status.host == socket.gethostname() and not _is_alive(status):
            _remove(file)
        else:
            found.append(status)
    return found


def _is_alive(status: DriverStatus) -> bool:
    """Whether that very process lives, and not another one that got its id."""
    try:
        os.kill(status.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return status.started in (0, started_at(status.pid))


def _remove(file: Path) -> None:
    """Looking must work in a folder that may not be written, too."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        logger.debug("%s stays: %s", file, error)
