"""`Attempt`: one job on its way: units measured together, then those that failed one by one, each outcome reported once."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentkit.errors import AgentkitError, MeasurementError
from agentkit.workers import checks, devices, watch
from agentkit.workers.frames import MAX_FRAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentkit.measurements import Measurements
    from agentkit.tools import Params, Tool
    from agentkit.types import Unit
    from agentkit.workers.artifacts import ArtifactStore
    from agentkit.workers.context import Control, JobContext
    from agentkit.workers.job import JobSpec
    from agentkit.workers.warm import WarmTargets

    Emit = Callable[[str, dict[str, Any]], None]

FIRST_BATCH = 16
"""Rows for `ctx.batch` when a single unit ran out of device memory and nothing is known of the batch it used."""

_FRAME_ROOM = MAX_FRAME - (64 << 10)


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


class Attempt:
    """One job on its way: which units are done, what ran out, what has been reported."""

    def __init__(
        self,
        job: JobSpec,
        tool: Tool,
        params: Params,
        context: JobContext,
        control: Control,
        limits: MemoryLimits,
        targets: WarmTargets,
        artifacts: ArtifactStore,
        emit: Emit,
    ) -> None:
        self._job, self._tool, self._params = job, tool, params
        self._context, self._control, self._limits = context, control, limits
        self._targets, self._artifacts, self._emit = targets, artifacts, emit
        self._left = {u.index: u for u in job.units}
        self._oom_retries = 0
        self._modified: Failure | None = None
        context.limit_batch(limits.batch)

    @property
    def device(self) -> str:
        """Where the job computes."""
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
            self._targets.verify(self._tool.name)
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
                sha256 = self._artifacts.put("traceback.txt", failure.traceback).sha256
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
            "unlisted_targets": self._targets.unlisted(self._job.targets),
            "replace": self._modified is not None,
        }


def _chunks(units: Sequence[Unit], size: int | None) -> list[Sequence[Unit]]:
    step = size or len(units)
    return [units[i : i + step] for i in range(0, len(units), step)]


def _part(table: Measurements, units: Sequence[Unit]) -> Measurements:
    return table.select(units=[u.index for u in units])


def _text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-20_000:]
