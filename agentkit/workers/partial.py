"""`Partial`: what a tool keeps while it measures a long unit, so that the next attempt at that unit goes on from there.

A file belongs to one question (tool, version, source, params, conditions, targets, numeric environment) and one seed,
so it is found again by whatever job asks for that unit, and by no other. It holds working arrays, never an outcome.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import tempfile
from typing import TYPE_CHECKING, Any

from agentkit.canon import sha256_of
from agentkit.workers.job import numeric_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agentkit.types import Unit
    from agentkit.workers.job import JobSpec

FOLDER = "partial"

logger = logging.getLogger(__name__)


class Partial:
    """The kept arrays of one question.

    Args:
        artifacts: the worker's artifact folder.
        job: the question; its units and attempt do not matter.
    """

    def __init__(self, artifacts: Path, job: JobSpec) -> None:
        self._folder = artifacts / FOLDER / _identity(job)[:32]

    def kept(self, unit: Unit, name: str) -> dict[str, Any] | None:
        """The arrays under this name, or None: never kept, or damaged."""
        import numpy as np

        try:
            content = self._file(unit, name).read_bytes()
        except OSError:
            return None
        digest, content = content[:32], content[32:]
        if hashlib.sha256(content).digest() != digest:
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)

    def keep(self, unit: Unit, name: str, arrays: Mapping[str, Any]) -> None:
        """Keep arrays, whole or not at all; a full disk costs the repetition, never the job."""
        import numpy as np

        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, **{key: np.asarray(value) for key, value in arrays.items()})
        content = stream.getvalue()
        try:
            self._write(self._file(unit, name), hashlib.sha256(content).digest() + content)
        except OSError as error:
            logger.warning("%s of unit %d was not kept: %s", name, unit.index, error)

    def forget(self, units: Sequence[Unit]) -> None:
        """Remove what was kept of units that are answered."""
        for unit in units:
            for file in self._folder.glob(f"{unit.seed}-*"):
                file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # never made, or other units of this question are not answered yet
            self._folder.rmdir()

    def _file(self, unit: Unit, name: str) -> Path:
        return self._folder / f"{unit.seed}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"

    def _write(self, file: Path, content: bytes) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            os.replace(temporary, file)  # noqa: PTH105 - `temporary` is a name
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108 - as above
            raise


def _identity(job: JobSpec) -> str:
    return sha256_of(
        {
            "plugin": job.plugin,
            "tool": job.tool,
            "version": job.version,
            "source_sha256": job.source_sha256,
            "params": job.params,
            "conditions": None if job.conditions is None else sorted(job.conditions),
            "targets": job.targets,
            "environment": numeric_environment(job.resources),
        }
    )
