"""What a running driver's workers are doing, told to other processes through a small file beside its artifacts."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import TYPE_CHECKING

from agentkit.types import Frozen
from agentkit.workers.executor import Capacity  # noqa: TC001 - the type of a field

if TYPE_CHECKING:
    from pathlib import Path

    from agentkit.workers.executor import Executor

FOLDER = "drivers"
EVERY_S = 1.0


class DriverStatus(Frozen):
    """One driver: who it is, when it last wrote, and its workers then."""

    pid: int
    host: str
    written_at: float
    capacity: Capacity

    @property
    def age_s(self) -> float:
        """Seconds since it wrote."""
        return max(0.0, time.time() - self.written_at)


class StatusFile:
    """Written by a driver at most once a second; removed when it closes.

    Args:
        artifacts: the driver's artifact folder.
    """

    def __init__(self, artifacts: Path) -> None:
        self._path = artifacts / FOLDER / f"{socket.gethostname()}-{os.getpid()}.json"
        self._last = float("-inf")

    def update(self, executor: Executor, *, now: bool = False) -> None:
        """Write what the workers do; most calls return at once."""
        if not now and time.monotonic() - self._last < EVERY_S:
            return
        self._last = time.monotonic()
        status = DriverStatus(
            pid=os.getpid(), host=socket.gethostname(), written_at=time.time(), capacity=executor.capacity()
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".part")
        temporary.write_text(status.model_dump_json())
        temporary.replace(self._path)

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
        if status.host == socket.gethostname() and not _is_alive(status.pid):
            file.unlink(missing_ok=True)
        else:
            found.append(status)
    return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
