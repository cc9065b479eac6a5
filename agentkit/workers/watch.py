"""What `/proc` says of a process group: who is in it, how much memory it holds. Linux; elsewhere nothing is seen."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MAX_AGE_S = 0.2


class Process(NamedTuple):
    """One line of the process table; memory in bytes."""

    pid: int
    parent: int
    group: int
    session: int
    rss: int
    zombie: bool


_last: tuple[float, list[Process]] = (float("-inf"), [])


def processes(max_age_s: float = _MAX_AGE_S) -> list[Process]:
    """All processes of the machine; supervisors share one scan that is at most `max_age_s` old."""
    global _last  # noqa: PLW0603 - one scan serves every supervisor of this process
    if time.monotonic() - _last[0] > max_age_s:
        found = [p for name in _pids() if (p := _read(name)) is not None]
        _last = (time.monotonic(), found)
    return _last[1]


def session_members(session: int, max_age_s: float = _MAX_AGE_S) -> list[Process]:
    """Living processes of one session: a worker's child and all it started that did not leave by `setsid`."""
    return [p for p in processes(max_age_s) if p.session == session and not p.zombie]


def resident_bytes(pid: int | None = None) -> int:
    """Memory that one process holds now (this one unless said); 0 where `/proc` is absent."""
    try:
        return int((PROC / str(pid or "self") / "statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def started_at(pid: int) -> int:
    """When a process began, in the kernel's ticks since boot; 0 where `/proc` is absent or the process gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
        return int(text[text.rindex(")") + 2 :].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def reset_peak() -> None:
    """Forget this process's highest memory use so far, where the kernel lets it."""
    try:
        (PROC / "self" / "clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """Highest memory use of this process since `reset_peak`."""
    try:
        for line in (PROC / "self" / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def kill_marked(variable: str, value: str) -> list[int]:
    """SIGKILL every process whose environment says `variable=value`; returns their ids.

    This finds what left its group by `setsid`: the mark is inherited, and only the dishonest wipe it.
    """
    mark = f"{variable}={value}".encode()
    killed = []
    for name in _pids():
        pid = int(name)
        if pid == os.getpid():
            continue
        try:
            marked = mark in (PROC / name / "environ").read_bytes().split(b"\0")
            if marked:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        except OSError:  # gone, or another user's
            continue
    return killed


def _pids() -> list[str]:
    try:
        return [name for name in os.listdir(PROC) if name.isdigit()]  # noqa: PTH208 - names only, ten times faster
    except OSError:
        return []


def _read(name: str) -> Process | None:
    try:
        text = (PROC / name / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the command in parentheses may hold anything
    return Process(
        pid=int(name),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        rss=int(fields[21]) * _PAGE,
        zombie=fields[0] == "Z",
    )
