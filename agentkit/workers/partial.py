"""`Partial`: what a tool keeps while it measures a long unit, so that the next attempt at that unit goes on from there.

A file belongs to the key of the unit's answer (`unit_key`), so it is found again by whatever job asks for that unit, and
by no other. It holds working arrays, never an outcome.
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
from typing import TYPE_CHECKING, Any

from agentkit.workers.job import numeric_environment, unit_key
from agentkit.workers.whole import write_whole

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
        self._folder, self._job = artifacts / FOLDER, job
        self._environment = numeric_environment(job.resources)

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
            write_whole(self._file(unit, name), hashlib.sha256(content).digest() + content)
        except OSError as error:
            logger.warning("%s of unit %d was not kept: %s", name, unit.index, error)

    def forget(self, units: Sequence[Unit]) -> None:
        """Remove what was kept of units that are answered."""
        for unit in units:
            shutil.rmtree(self._folder_of(unit), ignore_errors=True)

    def _file(self, unit: Unit, name: str) -> Path:
        return self._folder_of(unit) / hashlib.sha256(name.encode()).hexdigest()[:32]

    def _folder_of(self, unit: Unit) -> Path:
        return self._folder / unit_key(self._job, unit, self._environment)[:32]
