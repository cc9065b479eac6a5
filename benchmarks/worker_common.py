"""What the worker benchmarks share: jobs for two tiny tools, the machine's line, and the bar that must hold."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from agentkit import Unit
from agentkit.plugins import load_plugins
from agentkit.seeds import derive_seed
from agentkit.workers import Event, Executor, JobSpec, WorkersConfig, open_executor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MODULE = "worker_tools"
sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # for the peers' spawned processes
PLUGINS = load_plugins(modules=[MODULE])


def machine() -> str:
    """One line about where the figures come from."""
    load = os.getloadavg()[0]
    packages = " ".join(f"{name} {version(name)}" for name in ("torch", "numpy"))
    return f"{platform.machine()}, {os.cpu_count()} CPUs, load {load:.1f}, Python {platform.python_version()}, {packages}"


def workers(text: str, **settings: object) -> Executor:
    """An executor that knows the benchmark's tools."""
    config = {**WorkersConfig.parse(text).model_dump(), **settings}
    return open_executor(WorkersConfig.from_mapping(config), modules=[MODULE])


def job(tool: str, units: int = 1, run: str = "r", **params: object) -> JobSpec:
    """A job for one of the benchmark's tools, or of an installed one."""
    found = PLUGINS.tool(tool)
    parsed = found.parse(params).model_dump(mode="json")
    return JobSpec(
        plugin=PLUGINS.owner(tool).name,
        tool=tool,
        version=found.version,
        source_sha256=found.source_sha256,
        params=parsed,
        units=tuple(Unit(index=i, seed=derive_seed(tool, i)) for i in range(units)),
        targets=PLUGINS.fingerprints(PLUGINS.target_uris(parsed)),
        resources=found.resources,
        run=run,
    )


def drive(
    executor: Executor, jobs: Sequence[JobSpec], saw: Callable[[Event], None] = lambda event: None
) -> dict[str, str]:
    """Submit all, wait for all; how each ended, by job id."""
    for each in jobs:
        executor.submit(each)
    ended: dict[str, str] = {}
    while len(ended) < len(jobs):
        for event in executor.events(1.0):
            saw(event)
            if event.kind == "end":
                ended[event.job_id] = event.data["status"]
    return ended


def seconds(action: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def median_ms(action: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median and 95th percentile in milliseconds."""
    taken = sorted(seconds(action) * 1e3 for _ in range(repeats))
    return statistics.median(taken), taken[int(0.95 * (len(taken) - 1))]


def verdict(
    name: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None
) -> bool:
    """Print a figure beside its bar; whether the bar holds."""
    holds = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    bar = f"<= {at_most:g}" if at_most is not None else f">= {at_least:g}"
    print(f"{name:<46} {value:>10.3g} {unit:<8} bar {bar:<8} {'holds' if holds else 'MISSED'}")
    return holds
