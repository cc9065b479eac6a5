"""Call a tool as a worker would, in this process: for contract tests, calibration and notebooks."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.plugins import installed_plugins
from agentkit.workers import JobSpec
from agentkit.workers.artifacts import ArtifactStore
from agentkit.workers.context import Control, JobContext
from agentkit.workers.environment import threads
from agentkit.workers.warm import WarmTargets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.measurements import Measurements
    from agentkit.tools import Tool
    from agentkit.types import Unit

WARM_BYTES = 8 << 30


@cache
def _warm_targets(device: str) -> WarmTargets:
    return WarmTargets(installed_plugins(), device, WARM_BYTES)


def run_tool(
    tool: Tool,
    params: Mapping[str, Any],
    units: Sequence[Unit],
    *,
    conditions: Sequence[str] | None = None,
    device: str = "cpu",
) -> Measurements:
    """Call a tool in this process as a worker would, with targets kept warm between calls.

    Raises:
        ParamError: params that the tool refuses.
        MeasurementError: a table that is not about these units and declared metrics.
    """
    parsed = tool.parse(params)
    job = JobSpec(
        plugin="testing",
        tool=tool.name,
        version=tool.version,
        source_sha256=tool.source_sha256,
        params=parsed.model_dump(mode="json"),
        units=tuple(units),
        conditions=None if conditions is None else tuple(conditions),
    )
    with threads(tool.resources.cpus), tempfile.TemporaryDirectory() as folder:
        ctx = JobContext(
            job,
            device=device,
            workdir=Path(folder),
            targets=_warm_targets(device),
            artifacts=ArtifactStore(Path(folder) / "artifacts"),
            control=Control(),
            emit=lambda kind, data: None,
        )
        table = tool(parsed, tuple(units), ctx)
    tool.check(table, units)
    return table
