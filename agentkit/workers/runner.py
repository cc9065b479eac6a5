"""`Runner`: takes a job, runs its tool, says what happened. The same code in every child and inline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from agentkit.errors import AgentkitError, ParamError, PluginMismatchError
from agentkit.workers import devices, watch
from agentkit.workers.attempt import Attempt, MemoryLimits
from agentkit.workers.context import Control, JobContext
from agentkit.workers.environment import threads
from agentkit.workers.job import installed_version

if TYPE_CHECKING:
    from pathlib import Path

    from agentkit.plugins import Plugins
    from agentkit.tools import Params, Tool
    from agentkit.workers.artifacts import ArtifactStore
    from agentkit.workers.attempt import Emit
    from agentkit.workers.job import JobSpec
    from agentkit.workers.warm import WarmTargets

TIMEOUT_LEAST_S = 600.0
"""A declared cost is a first guess, and one tool may take a hundred times as long on a larger target."""
TIMEOUT_FACTOR = 10.0


def automatic_timeout_s(seconds_per_unit: float | None, units: int) -> float:
    """How long a call may take when nobody said: ten times the declared cost, ten minutes at least."""
    return max(TIMEOUT_LEAST_S, TIMEOUT_FACTOR * (seconds_per_unit or 0.0) * units)


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
        attempt: Attempt | None = None
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
        with devices.deterministic(tool.atol == 0, attempt.device):
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
    ) -> Attempt:
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
        return Attempt(job, tool, params, context, control, limits, self.targets, self.artifacts, emit)

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
