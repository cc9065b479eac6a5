"""The process that runs tools: reads jobs from its supervisor's socket, sends frames back, never touches a store.

Started by `agentkit.workers.supervisor` as a fresh interpreter, leader of its own session. What a tool prints
goes to pipes and cannot disturb the protocol. When the supervisor dies, `lifeline` kills the whole group.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.workers import devices, watch
from agentkit.workers.artifacts import ArtifactStore
from agentkit.workers.context import Control
from agentkit.workers.environment import limit_resources
from agentkit.workers.frames import FrameChannel
from agentkit.workers.job import JobSpec
from agentkit.workers.runner import Runner
from agentkit.workers.warm import WarmTargets

if TYPE_CHECKING:
    from collections.abc import Iterator

_PR_SET_CHILD_SUBREAPER = 36
_LIFELINE = 'exec 3<&0; (read -r _ <&3; rm -rf "$1"; kill -9 0) >/dev/null 2>&1 &'


def main() -> None:
    """Entry point of the child: `connection` and `lifeline` descriptors are the last two arguments."""
    connection, lifeline = (int(text) for text in sys.argv[-2:])
    _start_lifeline(lifeline)
    _adopt_orphans()
    limit_resources()
    channel = FrameChannel(socket.socket(fileno=connection))
    Child(channel).serve()


class Child:
    """Runs the jobs that arrive; a second thread listens for cancellations meanwhile."""

    def __init__(self, channel: FrameChannel) -> None:
        self._channel = channel
        self._jobs: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: tuple[str, Control] | None = None
        self._cancelled: set[str] = set()

    def serve(self) -> None:
        """Until the supervisor closes the connection."""
        threading.Thread(target=self._listen, daemon=True).start()
        setup = self._jobs.get()
        if setup is None:
            return
        runner, root = self._set_up(setup), Path(setup["folder"])
        self._channel.send({"kind": "ready", "data": {"pid": os.getpid()}})
        while (message := self._jobs.get()) is not None:
            self._run(runner, JobSpec.from_wire(message["job"]), root)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            for message in self._channel.receive():
                if message["kind"] == "cancel":
                    self._cancel(message["job_id"])
                else:
                    self._jobs.put(message)
        self._jobs.put(None)

    def _cancel(self, job_id: str) -> None:
        with self._lock:
            self._cancelled.add(job_id)
            if self._running is not None and self._running[0] == job_id:
                self._running[1].cancel()

    def _set_up(self, setup: dict[str, Any]) -> Runner:
        from agentkit.plugins import load_plugins

        if setup["device"] != "cpu":
            _take_share(setup["share"])
        plugins = load_plugins(modules=setup["modules"])
        targets = WarmTargets(plugins, setup["device"], setup["warm_bytes"])
        artifacts = ArtifactStore(Path(setup["artifacts"]))
        return Runner(plugins, targets, artifacts, device=setup["device"], worker=setup["worker"])

    def _run(self, runner: Runner, job: JobSpec, root: Path) -> None:
        control = Control()
        with self._lock:
            self._running = (job.job_id, control)
            if job.job_id in self._cancelled:
                control.cancel()

        def emit(kind: str, data: dict[str, Any]) -> None:
            if kind == "end":  # after this the supervisor may send the next job: leave nothing behind
                _flush_output()
                data = {**data, "warm": runner.targets.uris, "warm_bytes": runner.targets.nbytes}
                end.append(data)
                return
            self._channel.send({"kind": kind, "data": data})

        end: list[dict[str, Any]] = []
        with _private_folder(root) as workdir:
            runner.run(job, workdir, control, emit)
        with self._lock:
            self._running = None
        strays = end_strays()
        self._channel.send(
            {"kind": "end", "data": {**end[0], "strays": strays, "rss": watch.resident_bytes()}}
        )


@contextlib.contextmanager
def _private_folder(root: Path) -> Iterator[Path]:
    """A folder (mode 0700) that is cwd and `TMPDIR` for the time of one job, and empty when it begins.

    A job that left it empty leaves it to the next one: removing a folder costs more than a small job.
    """
    folder = root / "job"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(root)
        os.environ["TMPDIR"] = tempfile.tempdir = str(root)
        if not _is_empty(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_empty(folder: Path) -> bool:
    try:
        return not os.listdir(folder)  # noqa: PTH208 - only whether there is a name
    except OSError:
        return False


def _take_share(share: float) -> None:
    """A worker with a device loads torch at once, so that its share holds from the first allocation on."""
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401 - looked up in sys.modules
    devices.limit_share(share)


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # a tool may have closed or replaced them
            stream.flush()


def _start_lifeline(descriptor: int) -> None:
    """Leave a tiny process in our group that kills the group when the supervisor is gone.

    It waits for the end of a pipe that only the supervisor holds open, so it also works when this interpreter
    is stuck in C code and when the supervisor was killed; then it removes our folder too. It is orphaned at
    once, so it is no child of ours.
    """
    command = ["/bin/sh", "-c", _LIFELINE, "lifeline", str(Path.cwd())]
    subprocess.run(command, stdin=descriptor, check=True)  # noqa: S603 - our own fixed words
    os.close(descriptor)


def _adopt_orphans() -> None:
    """On Linux, whatever a tool's processes leave behind becomes our child, so that it can be found and ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_strays(limit_s: float = 2.0) -> int:
    """Kill and reap every process a tool left behind; returns how many.

    One system call when there is none. Killing a parent hands its children to us (we are their reaper), so
    the loop ends when nobody is left.
    """
    ended = 0
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid:
            ended += 1
            continue
        for process in watch.processes(max_age_s=0):
            if process.parent == os.getpid():
                with contextlib.suppress(OSError):
                    os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.002)
    return ended


if __name__ == "__main__":
    main()
