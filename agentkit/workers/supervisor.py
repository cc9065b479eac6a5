"""`Supervisor`: one thread that keeps one child, gives it jobs, and ends it when it hangs, grows or dies."""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from agentkit.errors import AgentkitError
from agentkit.workers import watch
from agentkit.workers.executor import WorkerInfo
from agentkit.workers.frames import FrameReader
from agentkit.workers.job import make_event
from agentkit.workers.logs import JobLog
from agentkit.workers.mailbox import Mailbox
from agentkit.workers.process import GRACE_S, ChildProcess, ChildSetup
from agentkit.workers.running import SLACK_S, START_TIMEOUT_S, Running

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentkit.workers.job import Event, EventKind, JobSpec

WATCH_EVERY_S = 0.2

logger = logging.getLogger(__name__)


class Supervisor:
    """One worker.

    Args:
        name: `w0`, `w1`, …
        setup: what its children are started with.
        emit: called with every event, from the supervisor's thread.
        idle: called, from that thread, when the worker can take another job.
    """

    def __init__(
        self,
        name: str,
        setup: ChildSetup,
        *,
        emit: Callable[[Event], None],
        idle: Callable[[Supervisor], None],
    ) -> None:
        self.name = name
        self.setup = setup
        self._emit_event, self._idle = emit, idle
        self._child: ChildProcess | None = None
        self._reader = FrameReader()
        self._running: Running | None = None
        self._mailbox = Mailbox()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._mailbox, selectors.EVENT_READ, self._on_mail)
        self._ready = False
        self._closing = False
        self._last_watch = 0.0
        self._tail = deque[bytes](maxlen=20)
        self._info = WorkerInfo(name=name, state="stopped", device=setup.device, share=setup.share)
        self._jobs_done = self._restarts = 0
        self._thread = threading.Thread(target=self._loop, name=f"agentkit-{name}", daemon=True)
        self._thread.start()

    # what others call ------------------------------------------------------------------------------------

    def run(self, job: JobSpec, seq: int = 0) -> None:
        """Give the idle worker a job; `seq` is the number of its next event."""
        self._mailbox.put("run", (job, seq))

    def cancel(self, job_id: str, *, hard: bool = False) -> None:
        """Stop this job if it is the one that runs."""
        self._mailbox.put("cancel", (job_id, hard))

    def close(self, grace_s: float) -> None:
        """End the child and the thread; a job that runs ends as `cancelled`."""
        self._mailbox.put("close", grace_s)

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    def info(self) -> WorkerInfo:
        """What the worker is doing now."""
        running, child = self._running, self._child
        if running is None:
            return self._info.model_copy(update={"rss": watch.resident_bytes(child.pid) if child else 0})
        return self._info.model_copy(
            update={
                "state": "starting" if running.phase == "start" else "busy",
                "pid": child.pid if child else None,
                "job_id": running.job.job_id,
                "tool": running.job.tool,
                "seconds": running.seconds,
                "rss": watch.resident_bytes(child.pid) if child else 0,
            }
        )

    # the thread ------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._closing:
            try:
                self._turn()
            except Exception as error:  # a fault of ours must end the job, not hang it
                logger.exception("worker %s", self.name)
                self._fail("lost", f"worker {self.name}: {type(error).__name__}: {error}", 0)
        self._selector.close()
        self._mailbox.close()

    def _turn(self) -> None:
        for key, _ in self._selector.select(WATCH_EVERY_S if self._running else 5.0):
            key.data()
            if self._closing:
                return
        if self._running is not None:
            self._look_after()

    def _on_mail(self) -> None:
        for what, argument in self._mailbox.take():
            if what == "run":
                self._begin(*argument)
            elif what == "cancel":
                self._on_cancel(*argument)
            else:
                self._on_close(argument)

    def _begin(self, job: JobSpec, seq: int) -> None:
        log = JobLog(self.setup.artifacts / "logs" / f"{job.job_id}.log")
        self._running = Running.started(job, log, seq)
        self._send(self._running)

    def _send(self, running: Running) -> None:
        try:
            child = self._child or self._start_child()
        except OSError as error:
            self._finish("refused", type(error).__name__, f"worker {self.name} did not start: {error}")
            return
        running.enter("sent" if self._ready else "start", START_TIMEOUT_S)
        try:
            child.channel.send({"kind": "run", "job": running.job.to_wire()})
        except OSError:  # it died a moment ago
            self._on_exit(child)
        except AgentkitError as error:
            self._finish("refused", type(error).__name__, str(error))

    def _start_child(self) -> ChildProcess:
        self._ready, self._reader = False, FrameReader()
        child = self._child = ChildProcess(self.setup, self.name)
        child.connection.setblocking(True)
        self._watch(child.connection, lambda: self._on_frames(child))
        for stream, descriptor in child.outputs:
            os.set_blocking(descriptor, False)
            self._watch(descriptor, partial(self._on_output, child, stream, descriptor))
        if child.exit_descriptor is not None:
            self._watch(child.exit_descriptor, lambda: self._on_exit(child))
        self._info = self._info.model_copy(update={"pid": child.pid, "state": "starting"})
        return child

    def _watch(self, source: Any, act: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, act)

    def _stop_child(self, grace_s: float) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        for key in list(self._selector.get_map().values()):
            if key.fileobj is not self._mailbox:
                self._selector.unregister(key.fileobj)
        child.end(grace_s)
        self._ready = False
        self._restarts += 1
        self._info = self._info.model_copy(
            update={"pid": None, "state": "stopped", "warm": (), "warm_bytes": 0, "restarts": self._restarts}
        )

    # what the child says -----------------------------------------------------------------------------------

    # (each takes the child it was registered for: one batch of readiness may outlive a child)

    def _on_frames(self, child: ChildProcess) -> None:
        if self._child is not child:
            return
        try:
            data = _received(child)
            messages = list(self._reader.feed(data))
        except AgentkitError as error:
            self._fail("lost", f"worker {self.name} broke the protocol: {error}")
            return
        if not data:
            self._on_exit(child)
        for message in messages:
            self._on_message(message["kind"], message["data"])

    def _on_message(self, kind: str, data: dict[str, Any]) -> None:
        running = self._running
        if kind == "ready":
            self._ready = True
            if running is not None:
                running.enter("sent", START_TIMEOUT_S)
        elif running is None:
            logger.warning("worker %s sent %s without a job", self.name, kind)
        elif kind == "loading":
            running.enter("load", running.job.load_timeout_s)
        elif kind == "end":
            self._on_end(data)
        else:
            if kind == "started":
                running.enter("run", data["timeout_s"] + SLACK_S)
            elif kind == "units":
                running.measured(set(data["units"]))
            self._emit(kind, data)

    def _on_end(self, data: dict[str, Any]) -> None:
        self._drain_output()
        replace = data.pop("replace", False) or data.get("rss", 0) > self._memory_limit()
        self._info = self._info.model_copy(
            update={"warm": tuple(data.pop("warm", ())), "warm_bytes": data.pop("warm_bytes", 0)}
        )
        if replace:
            self._stop_child(GRACE_S)
        self._end(data)

    def _memory_limit(self) -> int:
        return self._running.job.resources.memory if self._running else 0

    def _on_output(self, child: ChildProcess, stream: str, descriptor: int) -> None:
        if self._child is not child:
            return
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(descriptor)
            return
        self._tail.append(data[-2000:])
        if self._running is not None and (text := self._running.log.add(stream, data)):
            self._emit("log", {"stream": stream, "text": text})

    def _drain_output(self) -> None:
        """Everything the job printed before its end belongs to it."""
        for _, descriptor in self._child.outputs if self._child else ():
            while descriptor in self._selector.get_map():
                before = self._running.log.size if self._running else 0
                self._selector.get_map()[descriptor].data()
                if self._running is None or self._running.log.size == before:
                    break

    # what the child does -----------------------------------------------------------------------------------

    def _look_after(self) -> None:
        running, child = self._running, self._child
        if running is None or child is None:
            return
        if (excess := running.overdue(self.name, self._said)) is not None:
            self._fail(*excess)
        elif time.monotonic() - self._last_watch >= WATCH_EVERY_S:
            self._last_watch = time.monotonic()
            if child.exit_descriptor is None and child.ended_by() is not None:
                self._on_exit(child)
            elif (excess := running.too_much(child.pid)) is not None:
                self._fail(*excess)

    def _on_exit(self, child: ChildProcess) -> None:
        if self._child is not child:
            return
        self._read_last_frames(child)
        if self._child is not child:  # its last frame was an end that replaced it
            return
        self._drain_output()
        child.wait(1.0)
        cause = child.ended_by() or "connection closed"
        running = self._running
        if running is not None and running.phase == "sent" and not running.sent_again:
            self._stop_child(0)  # it died before it saw the job: no attempt was made
            running.sent_again = True
            self._send(running)
            return
        gave_up = running is not None and running.phase == "start" and cause.startswith("exit")
        self._fail("refused" if gave_up else "lost", f"worker {self.name} died ({cause}); {self._said()}")

    def _read_last_frames(self, child: ChildProcess) -> None:
        child.connection.setblocking(False)
        try:
            while self._child is child and (data := child.connection.recv(1 << 20)):
                for message in self._reader.feed(data):
                    self._on_message(message["kind"], message["data"])
        except (OSError, AgentkitError):
            return

    def _said(self) -> str:
        text = b"".join(self._tail).decode(errors="replace").strip()
        return f"its last output: …{text[-600:]}" if text else "it printed nothing"

    def _on_cancel(self, job_id: str, hard: bool) -> None:
        if self._running is None or self._running.job.job_id != job_id:
            return
        if hard:
            self._fail("cancelled", "cancelled; its process group was ended")
        elif self._child is not None:
            child = self._child
            try:
                child.channel.send({"kind": "cancel", "job_id": job_id})
            except OSError:
                self._on_exit(child)

    def _on_close(self, grace_s: float) -> None:
        self._closing = True
        if self._running is not None:
            self._fail("cancelled", "the pool was closed", grace_s)
        self._stop_child(0 if self._running is None else grace_s)

    # ends --------------------------------------------------------------------------------------------------

    def _fail(self, status: str, message: str, grace_s: float = GRACE_S) -> None:
        """End the child's whole group, and the job with it."""
        running = self._running
        self._stop_child(grace_s)
        if running is None:
            return
        error_class = {"timeout": "TimeoutError", "oom": "MemoryError"}.get(status, "WorkerError")
        said = {"error_class": error_class, "message": message, "traceback_sha256": None}
        if status in ("timeout", "oom", "failed") and running.left:
            self._emit("units", {"units": running.left, "status": status, **said})
            running.left = []
        self._finish(status, error_class, message)

    def _finish(self, status: str, error_class: str, message: str) -> None:
        if self._running is not None:
            self._end(self._running.ending(status, error_class, message))

    def _end(self, data: dict[str, Any]) -> None:
        running = self._running
        assert running is not None  # noqa: S101 - only called while a job runs
        log_bytes = running.log.close()
        self._emit("end", {**data, "log_bytes": log_bytes, "log_file": running.log.file_name})
        self._running = None
        self._jobs_done += 1
        self._tail.clear()
        state = "idle" if self._child is not None else "stopped"
        self._info = self._info.model_copy(update={"state": state, "jobs_done": self._jobs_done})
        if not self._closing:
            self._idle(self)

    def _emit(self, kind: str, data: dict[str, Any]) -> None:
        running = self._running
        assert running is not None  # noqa: S101 - events are about jobs
        self._emit_event(make_event(running.job, cast("EventKind", kind), self.name, running.seq, data))
        running.seq += 1


def _received(child: ChildProcess) -> bytes:
    """What is there; nothing when the other end is gone (a reset: it died with our last message unread)."""
    try:
        return child.connection.recv(1 << 20)
    except ConnectionError:
        return b""
