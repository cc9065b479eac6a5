"""`ChildProcess`: one interpreter in its own session that can be ended with everything it started."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentkit.workers import watch
from agentkit.workers.environment import MARK, clean_environment
from agentkit.workers.frames import FrameChannel

if TYPE_CHECKING:
    from collections.abc import Sequence

GRACE_S = 5.0
"""Between SIGTERM and SIGKILL."""

_GONE_S = 2.0

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from agentkit.workers.child import main; main()"
)


@dataclass(frozen=True)
class ChildSetup:
    """What every child of a pool is started with.

    Args:
        modules: plugin modules by import path, besides the installed plugins.
        artifacts: where its files go.
        warm_bytes: cap of its warm targets.
        devices: what `CUDA_VISIBLE_DEVICES` shows it; nothing for a CPU worker.
        share: of its one device, where it has less than all of it.
        pass_env: variables it may see besides the allow-list.
    """

    modules: tuple[str, ...]
    artifacts: Path
    warm_bytes: int
    devices: tuple[str, ...] = ()
    share: float = 0
    pass_env: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """What tools are told: the child sees only its own, so the first one is its."""
        return "cuda:0" if self.devices else "cpu"


class ChildProcess:
    """A started child: its process id, its connection, its output pipes, its folder."""

    def __init__(self, setup: ChildSetup, name: str) -> None:
        self._mark = secrets.token_hex(16)
        self.folder = Path(tempfile.mkdtemp(prefix="agentkit-"))
        ours, theirs = socket.socketpair()
        lifeline_read, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own words
                [
                    sys.executable,
                    "-c",
                    _BOOT,
                    json.dumps(_driver_path()),
                    str(theirs.fileno()),
                    str(lifeline_read),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(), lifeline_read),
                start_new_session=True,
                cwd=self.folder,
                env=clean_environment(
                    os.environ,
                    folder=str(self.folder),
                    mark=self._mark,
                    devices=setup.devices,
                    pass_env=setup.pass_env,
                ),
            )
        finally:
            theirs.close()
            os.close(lifeline_read)
        self.connection = ours
        self.channel = FrameChannel(ours)
        self._pidfd = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else None
        self.channel.send(
            {
                "kind": "setup",
                "modules": list(setup.modules),
                "artifacts": str(setup.artifacts),
                "warm_bytes": setup.warm_bytes,
                "device": setup.device,
                "share": setup.share,
                "worker": name,
                "folder": str(self.folder),
            }
        )

    @property
    def pid(self) -> int:
        """Of the child; also the id of its session and of its process group."""
        return self._process.pid

    @property
    def exit_descriptor(self) -> int | None:
        """Readable once the child has ended; None where the system cannot tell this way."""
        return self._pidfd

    @property
    def outputs(self) -> Sequence[tuple[str, int]]:
        """Names and descriptors of its output pipes."""
        assert self._process.stdout is not None and self._process.stderr is not None  # noqa: S101 - both are PIPE
        return (("stdout", self._process.stdout.fileno()), ("stderr", self._process.stderr.fileno()))

    def ended_by(self) -> str | None:
        """None while it runs; afterwards `SIGKILL` or `exit code 3`. Does not reap, so the group id stays ours."""
        try:
            status = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return "exit code unknown"
        if status is None:
            return None
        if status.si_code == os.CLD_EXITED:
            return f"exit code {status.si_status}"
        return signal.Signals(status.si_status).name

    def end(self, grace_s: float = GRACE_S) -> None:
        """SIGTERM to the group, SIGKILL after `grace_s`, then whatever left the group; reap; remove the folder."""
        if grace_s > 0 and self.ended_by() is None:
            self._signal_group(signal.SIGTERM)
            self.wait(grace_s)
        self._signal_group(signal.SIGKILL)
        strays = watch.kill_marked(MARK, self._mark)
        self._process.wait()
        self._wait_for_all(strays, _GONE_S)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self.connection.close()
        os.close(self._lifeline)
        if self._pidfd is not None:
            os.close(self._pidfd)
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait(self, limit_s: float) -> None:
        """Until it has ended, at most `limit_s`."""
        give_up = time.monotonic() + limit_s
        while self.ended_by() is None and time.monotonic() < give_up:
            time.sleep(0.005)

    def _wait_for_all(self, strays: Sequence[int], limit_s: float) -> None:
        """A killed process holds its memory and devices a moment longer; the next child must find them free."""
        give_up = time.monotonic() + limit_s
        while time.monotonic() < give_up:
            living = [p for p in watch.processes(max_age_s=0) if not p.zombie]
            if not any(p.session == self.pid or p.pid in strays for p in living):
                return
            time.sleep(0.005)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def _driver_path() -> list[str]:
    """The driver's import path; the empty entry of an interactive session is spelled out."""
    return [str(Path(entry).resolve()) if entry in ("", ".") else entry for entry in sys.path]
