"""The tools of the worker benchmarks. A plugin module: nothing heavy is imported at its top."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import agentkit
from agentkit import Context, Measurements, Metric, Params, TargetLoader, Tool, Unit

VALUE = Metric("value", 0, 1)


class Nothing(Params):
    """Nothing to choose but a name, so that each question is new."""

    name: str = ""


class Work(Params):
    """How long a unit computes, and where each execution leaves a line."""

    seconds: float = 0.5
    trace: str = ""


class Held(Params):
    """Which block of memory to hold."""

    target: str = "block:a"


def table(units: Sequence[Unit]) -> Measurements:
    return agentkit.Measurements.from_array(
        units, ["baseline", "a"], "value", [[0.5, (u.seed % 1000) / 1000] for u in units]
    )


@agentkit.tool(name="bench.noop", metrics=[VALUE], version="1", seconds_per_unit=0.001)
def noop(params: Nothing, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Two values a unit and nothing else."""
    return table(units)


@agentkit.tool(name="bench.work", metrics=[VALUE], version="1")
def work(params: Work, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Multiply matrices on one thread for some CPU seconds a unit."""
    import numpy as np

    matrix = np.random.default_rng(0).random((200, 200))
    for unit in units:
        if params.trace:
            with Path(params.trace).open("a") as file:
                file.write(f"{unit.index}\n")
        end = time.thread_time() + params.seconds
        while time.thread_time() < end:
            matrix = matrix @ matrix % 1.0
    return table(units)


@agentkit.tool(name="bench.hold", metrics=[VALUE], version="1")
def hold(params: Held, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Touch a loaded block of memory."""
    ctx.target(params.target)
    return table(units)


@agentkit.target("block", fingerprint=lambda rest: f"block-{rest}")
def block(rest: str, device: str) -> Any:
    """64 MiB of numbers."""
    import numpy as np

    return np.ones(8 << 20)


@agentkit.hookimpl
def agentkit_register_tools(register: Callable[[Tool], None]) -> None:
    """The benchmark's tools."""
    for tool in (noop, work, hold):
        register(tool)


@agentkit.hookimpl
def agentkit_register_targets(register: Callable[[TargetLoader], None]) -> None:
    """The benchmark's target."""
    register(block)


def peer_noop(seeds: Sequence[int]) -> list[list[float]]:
    """What the peers are asked for: the same two values."""
    return [[0.5, (seed % 1000) / 1000] for seed in seeds]


def peer_work(trace: str, index: int, seconds: float) -> int:
    """The peers' execution of one job of the crash benchmark."""
    with Path(trace).open("a") as file:
        file.write(f"{index}\n")
    time.sleep(seconds)
    return index
