"""The byte log of a zeroth-order run as one file: a header, and one byte per probe."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from agentkit_weight.errors import LogMismatchError
from agentkit_weight.noise import NOISE_VERSION
from agentkit_weight.replica import Record, ZoSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class ZoLog:
    """Everything a replay needs beside the base weights.

    Attributes:
        spec: the run.
        records: committed records in (step, worker, sample) order.
        checkpoints: (steps done, digest) pairs that a replay must meet.
        task: how to find the model and the data again, free-form JSON.
    """

    spec: ZoSpec
    records: tuple[Record, ...]
    checkpoints: tuple[tuple[int, str], ...] = ()
    task: dict[str, Any] = field(default_factory=dict)

    def arrays(self) -> dict[str, NDArray[np.uint8]]:
        """As arrays for an `.npz` artifact: `header` (JSON), `bytes` and `present`, (steps, workers, probes)."""
        require_whole(self.spec, self.records)
        shape = (self.steps_done, self.spec.workers, self.spec.probes)
        values, present = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        for step, worker, sample, byte in self.records:
            values[step, worker, sample], present[step, worker, sample] = byte, 1
        header = {
            "spec": asdict(self.spec),
            "table_sha256": self.spec.table_sha256,
            "checkpoints": self.checkpoints,
            "task": self.task,
            "steps_done": self.steps_done,
        }
        text = json.dumps(header, sort_keys=True).encode()
        missing = np.packbits(present) if not present.all() else np.zeros(0, np.uint8)
        return {"header": np.frombuffer(text, np.uint8), "bytes": values, "present": missing}

    @property
    def steps_done(self) -> int:
        """Steps that the records cover."""
        return 1 + max((r.step for r in self.records), default=-1)

    def digest_at(self, step: int) -> str | None:
        """The recorded digest after `step` steps, if there is one."""
        return {0: self.spec.base_sha256, **dict(self.checkpoints)}.get(step)

    @classmethod
    def read(cls, content: bytes) -> ZoLog:
        """The log in an `.npz` file.

        Raises:
            LogMismatchError: not such a file, or made by another noise rule or coefficient table.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                header = json.loads(file["header"].tobytes())
                values, packed = file["bytes"], file["present"]
        except (ValueError, KeyError, OSError, EOFError, BadZipFile):
            raise LogMismatchError(
                "this is not a byte log, or a damaged one; weight.finetune with zo writes one"
            ) from None
        spec = spec_from_json(header["spec"])
        if spec.table_sha256 != header["table_sha256"]:
            raise LogMismatchError("the log's coefficient table is not the one this version computes")
        flat = np.unpackbits(packed, count=values.size) if packed.size else np.ones(values.size, np.uint8)
        records = tuple(
            Record(int(s), int(w), int(p), int(values[s, w, p]))
            for s, w, p in np.argwhere(flat.reshape(values.shape))
        )
        require_whole(spec, records)
        checkpoints = tuple((int(step), str(sha)) for step, sha in header["checkpoints"])
        return cls(spec, records, checkpoints, header["task"])


def spec_from_json(values: dict[str, Any]) -> ZoSpec:
    """The spec that `dataclasses.asdict` and JSON wrote.

    Raises:
        LogMismatchError: for a noise rule that this version does not know.
    """
    if values["noise_version"] != NOISE_VERSION:
        raise LogMismatchError(
            f"the log was written under noise rule {values['noise_version']!r}; this version knows {NOISE_VERSION!r}"
        )
    shapes = tuple((int(m), int(n)) for m, n in values["shapes"])
    return ZoSpec(**{**values, "targets": tuple(values["targets"]), "shapes": shapes})


def require_base(spec: ZoSpec, base_sha256: str) -> None:
    """Refuse base weights that the log was not written on."""
    if spec.base_sha256 != base_sha256:
        raise LogMismatchError(
            f"the log starts from base weights {spec.base_sha256[:12]}…, this target has {base_sha256[:12]}…; "
            "load the target the run was made on"
        )


def require_whole(spec: ZoSpec, records: Sequence[Record]) -> None:
    """Refuse a log with a duplicate, a foreign number, or a step without any record.

    Raises:
        LogMismatchError: naming the first bad record.
    """
    seen: set[tuple[int, int, int]] = set()
    for record in sorted(records):
        step, worker, sample, byte = record
        inside = 0 <= step < spec.steps and 0 <= worker < spec.workers and 0 <= sample < spec.probes
        if not inside or not 0 <= byte <= 255:
            raise LogMismatchError(
                f"record {tuple(record)} is outside the run of {spec.steps} steps, {spec.workers} workers, "
                f"{spec.probes} probes"
            )
        if record[:3] in seen:
            raise LogMismatchError(f"record {tuple(record)} is there twice")
        seen.add(record[:3])
    steps = {step for step, _, _ in seen}
    for step in range(max(steps, default=-1) + 1):
        if step not in steps:
            raise LogMismatchError(f"the log has a gap: no record of step {step}, but later ones")


def choose(
    records: Iterable[Record],
    *,
    until: int | None = None,
    drop: Iterable[int] = (),
    only: Iterable[int] | None = None,
) -> list[Record]:
    """Records of the first `until` steps, without some workers or of some alone."""
    dropped, kept = set(drop), None if only is None else set(only)
    return [
        r
        for r in records
        if (until is None or r.step < until)
        and r.worker not in dropped
        and (kept is None or r.worker in kept)
    ]
