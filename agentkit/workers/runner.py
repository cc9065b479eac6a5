"""`Runner`: takes a job, runs its tool, says what happened. The same code in every child and inline."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentkit.errors import AgentkitError, MeasurementError, ParamError, PluginMismatchError
from agentkit.workers import checks, devices, watch
from agentkit.workers.context import Control, JobContext
from agentkit.workers.environment import threads
from agentkit.workers.frames import MAX_FRAME
from agentkit.workers.job import installed_version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from agentkit.measurements import Measurements
    from agentkit.plugins import Plugins
    from agentkit.tools import Params, Tool
    from agentkit.types import Unit
    from agentkit.workers.artifacts import ArtifactStore
    from agentkit.workers.job import JobSpec
    from agentkit.workers.warm import WarmTargets

    Emit = Callable[[str, dict[str, Any]], None]

TIMEOUT_UNKNOWN_S = 600.0
TIMEOUT_LEAST_S = 60.0
TIMEOUT_FACTOR = 10.0
FIRST_BATCH = 16
"""Rows for `ctx.batch` when a single unit ran out of device memory and nothing is known of the batch it used."""

_FRAME_ROOM = MAX_FRAME - (64 << 10)


def automatic_timeout_s(seconds_per_unit: float | None, units: int) -> float:
    """How long a call may take when nobody said: ten times the declared cost, a minute at least."""
    if seconds_per_unit is None:
        return TIMEOUT_UNKNOWN_S
    return max(TIMEOUT_LEAST_S, TIMEOUT_FACTOR * seconds_per_unit * units)


@dataclass(frozen=True)
class Failure:
    """Why some units have no numbers."""

    status: str
    error_class: str
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException, status: str) -> Failure:
        """From an exception that crossed the plugin boundary."""
        if isinstance(error, SystemExit):
            return cls(status, "SystemExit", f"the tool called exit({error.code!r})", _text(error))
        return cls(status, type(error).__name__, str(error), _text(error))


@dataclass
class MemoryLimits:
    """What was learned from running out of device memory, for one tool, its targets and one device."""

    units: int | None = None
    batch: int | None = None


class Runner:
    """Runs jobs one after another in this process.

    Args:
        plugins: what is installed here.
        targets: the warm targets of this worker.
        artifacts: where files go.
        device: `cpu` or `cuda:0`; jobs that ask for no GPU get `cpu` whatever this says.
        worker: this worker's name, for messages.
    """

    def __init__(
        self, plugins: Plugins, targets: WarmTargets, artifacts: ArtifactStore, *, device: str, worker: str
    ) -> None:
        self._plugins = plugins
        self.targets = targets
        self.artifacts = artifacts
        self._device = device
        self._worker = worker
        self._limits: dict[tuple[str, tuple[str, ...], str], MemoryLimits] = {}

    def run(self, job: JobSpec, workdir: Path, control: Control, emit: Emit) -> None:
        """Run one job; everything that happens goes to `emit`, its `end` last. Raises nothing of the tool's."""
        with threads(job.resources.cpus):
            self._run(job, workdir, control, emit)

    def _run(self, job: JobSpec, workdir: Path, control: Control, emit: Emit) -> None:
        begin = time.monotonic()
        watch.reset_peak()
        self.targets.begin_job()
        attempt: _Attempt | None = None
        try:
            tool = self._tool_for(job)
            params = tool.parse(job.params)
            emit("loading", {})
            for uri, expected in job.targets.items():
                self.targets.get(uri, expected)
            attempt = self._attempt(job, tool, params, workdir, control, emit)
        except AgentkitError as error:
            self._refuse(job, error, begin, emit)
            return
        loaded = time.monotonic()
        started = self._started(job, tool, attempt.device, loaded - begin)
        emit("started", started)
        control.stop_after(started["timeout_s"])
        devices.reset_peak(attempt.device)
        with devices.deterministic(tool.atol == 0):
            attempt.run(job.units)
        end = attempt.end()
        end["seconds"] = time.monotonic() - loaded
        self.targets.trim()
        for warning in self.targets.take_warnings():
            emit("log", {"stream": "worker", "text": warning})
        emit("end", {**end, "replace": end["replace"] or self.targets.tampered})

    def _tool_for(self, job: JobSpec) -> Tool:
        if job.tool not in self._plugins.tools:
            broken = "; ".join(str(e) for e in self._plugins.errors)
            raise PluginMismatchError(
                f"worker {self._worker} has no tool {job.tool!r} of plugin {job.plugin!r}; "
                f"install it there" + (f" (not loaded: {broken})" if broken else "")
            )
        tool, owner = self._plugins.tool(job.tool), self._plugins.owner(job.tool)
        if owner.name != job.plugin:
            raise PluginMismatchError(
                f"worker {self._worker} has {job.tool} from plugin {owner.name!r}, the job needs {job.plugin!r}"
            )
        if tool.version != job.version:
            raise PluginMismatchError(
                f"worker {self._worker} has {job.tool} version {tool.version} "
                f"({owner.distribution} {owner.version}), the job needs {job.version}"
            )
        if tool.source_sha256 != job.source_sha256:
            raise PluginMismatchError(
                f"worker {self._worker} has another source of {job.tool} "
                f"({tool.source_sha256[:12]}…, the job needs {job.source_sha256[:12]}…); install the same "
                f"{owner.distribution} on every worker"
            )
        return tool

    def _attempt(
        self, job: JobSpec, tool: Tool, params: Params, workdir: Path, control: Control, emit: Emit
    ) -> _Attempt:
        device = self._device if job.resources.gpus > 0 else "cpu"
        if job.resources.gpus > 0 and device == "cpu":
            raise ParamError(f"worker {self._worker} has no GPU; {job.tool} asks for {job.resources.gpus:g}")
        context = JobContext(
            job,
            device=device,
            workdir=workdir,
            targets=self.targets,
            artifacts=self.artifacts,
            control=control,
            emit=emit,
        )
        limits = self._limits.setdefault((tool.name, tuple(sorted(job.targets)), device), MemoryLimits())
        return _Attempt(job, tool, params, context, control, limits, self, emit)

    def _started(self, job: JobSpec, tool: Tool, device: str, load_s: float) -> dict[str, Any]:
        import os

        timeout_s = job.timeout_s or automatic_timeout_s(tool.seconds_per_unit, len(job.units))
        return {
            "pid": os.getpid(),
            "device": device,
            "targets": self.targets.fingerprints(job.targets),
            "dtypes": self.targets.dtypes(),
            "versions": {name: installed_version(name) for name in ("agentkit-perturb", "torch", "numpy")},
            "deterministic": tool.atol == 0,
            "threads": job.resources.cpus,
            "load_s": load_s,
            "timeout_s": timeout_s,
        }

    def _refuse(self, job: JobSpec, error: AgentkitError, begin: float, emit: Emit) -> None:
        emit(
            "end",
            {
                "status": "refused",
                "error_class": type(error).__name__,
                "message": str(error),
                "traceback_sha256": None,
                "seconds": time.monotonic() - begin,
                "units_left": [u.index for u in job.units],
            },
        )


class _Attempt:
    """One job on its way: which units are done, what ran out, what has been reported."""

    def __init__(
        self,
        job: JobSpec,
        tool: Tool,
        params: Params,
        context: JobContext,
        control: Control,
        limits: MemoryLimits,
        runner: Runner,
        emit: Emit,
    ) -> None:
        self._job, self._tool, self._params = job, tool, params
        self._context, self._control, self._limits = context, control, limits
        self._runner, self._emit = runner, emit
        self._left = {u.index: u for u in job.units}
        self._oom_retries = 0
        self._modified: Failure | None = None
        context.limit_batch(limits.batch)

    @property
    def device(self) -> str:
        return self._context.device

    def run(self, units: Sequence[Unit]) -> None:
        """Measure units together; those of a call that fails are measured once more, one at a time."""
        waiting = _chunks(units, self._limits.units)
        while waiting and not self._control.stop and self._modified is None:
            part = waiting.pop(0)
            result = self._call(part)
            if isinstance(result, Failure) and result.status == "device_oom":
                if self._oom_retries:
                    oom = self._second_oom(result)
                    for stranded in [part, *waiting]:
                        self._report(stranded, oom)
                    return
                waiting = _chunks([u for p in [part, *waiting] for u in p], self._halve(len(part)))
            elif isinstance(result, Failure) and self._control.stop:
                return  # a half-finished call says nothing about its units
            elif isinstance(result, Failure) and len(part) > 1:
                waiting = [*([unit] for unit in part), *waiting]
            else:
                self._report(part, result)

    def _call(self, units: Sequence[Unit]) -> Measurements | Failure:
        try:
            table = self._tool(self._params, tuple(units), self._context)
            return checks.check_table(self._tool, table, units)
        except MeasurementError as error:
            failure = Failure.of(error, "bad_value")
        except MemoryError as error:
            failure = Failure.of(error, "oom")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the plugin boundary: whatever a tool raises is named
            failure = Failure.of(error, "device_oom" if devices.is_out_of_memory(error) else "failed")
        # Out of the except block, so that the frames that hold the device's tensors are gone.
        if failure.status == "device_oom":
            devices.release()
        return failure

    def _halve(self, units: int) -> int | None:
        """Learn from running out of device memory: half the units, or half the batch of a single one."""
        self._oom_retries += 1
        units_before, batch_before = units, self._context.batch
        if units > 1:
            self._limits.units = (units + 1) // 2
        else:
            self._limits.units = 1
            self._limits.batch = max(1, (batch_before or 2 * FIRST_BATCH) // 2)
            self._context.limit_batch(self._limits.batch)
        self._emit(
            "oom_retry",
            {
                "units_before": units_before,
                "units_after": self._limits.units,
                "batch_before": batch_before,
                "batch_after": self._context.batch,
            },
        )
        return self._limits.units

    def _second_oom(self, failure: Failure) -> Failure:
        peak = devices.peak_bytes(self.device)
        hint = f"{self._job.tool} ran out of device memory twice (peak {peak / 2**20:.0f} MiB); declare more gpus"
        return Failure("oom", failure.error_class, f"{hint}: {failure.message}", failure.traceback)

    def _report(self, units: Sequence[Unit], result: Measurements | Failure) -> None:
        """Send the outcome of some units, unless the tool wrote to a target: then none of it counts."""
        try:
            self._runner.targets.verify(self._tool.name)
        except AgentkitError as error:
            self._modified = result = Failure.of(error, "failed")
            units = list(self._left.values())
        if isinstance(result, Failure):
            self._report_failure(units, result)
            return
        faults = checks.out_of_range(self._tool, result)
        for index, message in faults.items():
            unit = next(u for u in units if u.index == index)
            self._report_failure([unit], Failure("out_of_range", "MeasurementError", message))
        if good := [u for u in units if u.index not in faults]:
            self._report_table(good, result if len(good) == len(units) else _part(result, good))

    def _report_table(self, units: Sequence[Unit], table: Measurements) -> None:
        """One message, or as many as it takes to keep each below the frame size."""
        size = len(table) * 26  # a float64 in JSON takes at most 25 characters and its comma
        if size <= _FRAME_ROOM:
            self._units(units, {"status": "ok", "table": table.to_json()})
        elif len(units) > 1:
            half = len(units) // 2
            for few in (units[:half], units[half:]):
                self._report_table(few, _part(table, few))
        else:
            message = f"{size / 1e6:.1f} MB result; store arrays with ctx.artifact"
            self._report_failure(units, Failure("bad_value", "FrameTooLargeError", message))

    def _report_failure(self, units: Sequence[Unit], failure: Failure) -> None:
        self._units(units, {"status": failure.status, **self._said(failure)})

    def _said(self, failure: Failure) -> dict[str, Any]:
        sha256 = None
        if failure.traceback:
            try:
                sha256 = self._runner.artifacts.put("traceback.txt", failure.traceback).sha256
            except OSError:  # a full disk must not hide what failed
                sha256 = None
        return {
            "error_class": failure.error_class,
            "message": failure.message[:4000],
            "traceback_sha256": sha256,
        }

    def _units(self, units: Sequence[Unit], data: dict[str, Any]) -> None:
        for unit in units:
            self._left.pop(unit.index, None)
        self._emit("units", {"units": [u.index for u in units], **data})
        self._context.forget(units)

    def end(self) -> dict[str, Any]:
        """The data of the `end` event; units that ran past an inline deadline are reported first."""
        status = "ok"
        said: dict[str, Any] = {"error_class": None, "message": None, "traceback_sha256": None}
        if self._left and self._control.cancelled:
            status, said["message"] = "cancelled", "cancelled between units"
        elif self._left:
            late = Failure("timeout", "TimeoutError", "ran past its time-out (stopped between units)")
            self._report_failure(list(self._left.values()), late)
            status = "timeout"
        if self._modified is not None:
            status, said = "failed", self._said(self._modified)
        return {
            "status": status,
            **said,
            "units_left": sorted(self._left),
            "peak_rss": watch.peak_bytes(),
            "peak_device_bytes": devices.peak_bytes(self.device),
            "oom_retries": self._oom_retries,
            "batch": self._context.batch,
            "units_per_call": self._limits.units,
            "unlisted_targets": self._runner.targets.unlisted(self._job.targets),
            "replace": self._modified is not None,
        }


def _chunks(units: Sequence[Unit], size: int | None) -> list[Sequence[Unit]]:
    step = size or len(units)
    return [units[i : i + step] for i in range(0, len(units), step)]


def _part(table: Measurements, units: Sequence[Unit]) -> Measurements:
    return table.select(units=[u.index for u in units])


def _text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-20_000:]
