"""Where tools run: a job goes in, measurements and artifact hashes come back. Knows no ledger.

Importing this package imports none of torch, numpy or ray; a driver that uses `local` or `ray` never needs torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from agentkit.workers.config import WorkersConfig
from agentkit.workers.executor import Capacity, Executor, WorkerInfo
from agentkit.workers.job import (
    END_STATUSES,
    OUTCOME_STATUSES,
    Event,
    JobSpec,
    numeric_environment,
    unit_key,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agentkit.workers.checks import check_table, out_of_range
    from agentkit.workers.shard import merge, plan_shards
    from agentkit.workers.status import DriverStatus, RunStatus, StatusFile, running_drivers

__all__ = [
    "END_STATUSES",
    "OUTCOME_STATUSES",
    "Capacity",
    "DriverStatus",
    "Event",
    "Executor",
    "JobSpec",
    "RunStatus",
    "StatusFile",
    "WorkerInfo",
    "WorkersConfig",
    "check_table",
    "merge",
    "numeric_environment",
    "open_executor",
    "out_of_range",
    "plan_shards",
    "running_drivers",
    "unit_key",
]

_LAZY = {
    "DriverStatus": "agentkit.workers.status",
    "RunStatus": "agentkit.workers.status",
    "StatusFile": "agentkit.workers.status",
    "running_drivers": "agentkit.workers.status",
    "check_table": "agentkit.workers.checks",
    "merge": "agentkit.workers.shard",
    "out_of_range": "agentkit.workers.checks",
    "plan_shards": "agentkit.workers.shard",
}


def open_executor(
    config: WorkersConfig, *, modules: Sequence[str] = (), artifacts: Path | None = None
) -> Executor:
    """The backend that `config` names. Close it when done.

    Args:
        config: which backend, how many workers, how much of what.
        modules: plugin modules by import path, besides the installed plugins.
        artifacts: folder for content-addressed files and long logs; a temporary one unless said.

    Raises:
        MissingExtraError: the backend's package is absent (the message holds the pip line).
        UnsatisfiableError: more GPUs are asked for than there are.
    """
    if artifacts is not None:
        artifacts = artifacts.absolute()  # workers run in folders of their own
    if config.backend == "inline":
        from agentkit.workers.inline import InlineExecutor

        return InlineExecutor(config, modules=modules, artifacts=artifacts)
    if config.backend == "local":
        from agentkit.workers.local import LocalExecutor

        return LocalExecutor(config, modules=modules, artifacts=artifacts)
    from agentkit.workers.ray_ import RayExecutor

    return RayExecutor(config, modules=modules, artifacts=artifacts)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'agentkit.workers' has no attribute {name!r}")
