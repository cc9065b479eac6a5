"""What goes to a worker and what comes back: `JobSpec`, `Event`, and the two keys that make both idempotent.

Names and values only. A job holds no closure, no pickle and no weight, so the same text can be sent to a
process, to another machine, or again to a third after the first one died.
"""

from __future__ import annotations

import math
from functools import cache, cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator

from agentkit.canon import sha256_of
from agentkit.errors import WorkerError
from agentkit.types import BASELINE, Frozen, Resources, Unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.measurements import Measurements

LOAD_TIMEOUT_S = 300.0
"""How long a target may take to load unless the job says otherwise."""

EventKind = Literal["queued", "started", "progress", "log", "units", "artifact", "oom_retry", "end"]

OUTCOME_STATUSES = ("ok", "failed", "timeout", "oom", "bad_value", "out_of_range")
"""What a `units` event may say of its units; each is an outcome that the ledger stores."""

END_STATUSES = (*OUTCOME_STATUSES, "lost", "cancelled", "refused")
"""How an attempt may end. `ok`: every unit has its `units` event, whatever each of them says.
The last three leave the units that had no `units` event without an outcome."""


class JobSpec(Frozen):
    """One call of one tool for some units, as text.

    Args:
        schema_version: version of this record.
        plugin: name of the plugin the tool came from.
        tool: the tool's name.
        version: the tool's version; a worker with another one refuses.
        source_sha256: hash of the tool's package; a worker with another one refuses.
        params: the tool's params as JSON values, defaults included.
        units: the paired replicates to measure.
        conditions: names to measure (`baseline` is always added), or None for all.
        targets: `{uri: fingerprint}` as the driver knows them; a worker that finds another refuses.
        resources: what the job needs.
        timeout_s: seconds the call may take; None lets the tool's `seconds_per_unit` decide.
        load_timeout_s: seconds that loading its targets may take.
        run: the ledger's name for the run; opaque here and echoed in every event, as are the next two.
        attempt: 1 for the first try.
        fence: rises with every attempt of a run; an outcome with an old one is refused by the ledger.
    """

    schema_version: Literal[1] = 1
    plugin: str
    tool: str
    version: str
    source_sha256: str
    params: dict[str, Any] = Field(default_factory=dict)
    units: Annotated[tuple[Unit, ...], Field(min_length=1)]
    conditions: tuple[str, ...] | None = None
    targets: dict[str, str] = Field(default_factory=dict)
    resources: Resources = Field(default_factory=Resources)
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    load_timeout_s: Annotated[float, Field(gt=0)] = LOAD_TIMEOUT_S
    run: str = ""
    attempt: Annotated[int, Field(ge=1)] = 1
    fence: Annotated[int, Field(ge=0)] = 1

    @field_validator("params")
    @classmethod
    def _params_are_json(cls, params: dict[str, Any]) -> dict[str, Any]:
        _require_json(params, "params")
        return params

    @field_validator("units")
    @classmethod
    def _units_are_distinct(cls, units: tuple[Unit, ...]) -> tuple[Unit, ...]:
        if len({u.index for u in units}) != len(units):
            raise WorkerError(f"a job names a unit twice: {sorted(u.index for u in units)}")
        return units

    @cached_property
    def job_sha256(self) -> str:
        """What was asked, not where, when or how often: the idempotency key of a dispatch."""
        return sha256_of(
            {
                "schema": self.schema_version,
                "plugin": self.plugin,
                "tool": self.tool,
                "version": self.version,
                "params": self.params,
                "conditions": _sorted_or_none(self.conditions),
                "units": [[u.index, str(u.seed)] for u in self.units],
            }
        )

    @cached_property
    def job_id(self) -> str:
        """This attempt at this job, in 16 hex digits: what events carry and `cancel` takes."""
        return sha256_of([self.job_sha256, self.run, self.attempt, self.fence])[:16]

    @property
    def asked_conditions(self) -> frozenset[str] | None:
        """The conditions to measure with `baseline` among them, or None for all."""
        return None if self.conditions is None else frozenset(self.conditions) | {BASELINE}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other fields and, unlike pydantic's own, without the keys of the original."""
        copy = super().model_copy(update=update, deep=deep)
        for key in ("job_sha256", "job_id"):
            copy.__dict__.pop(key, None)
        return copy

    def only(self, units: Sequence[Unit]) -> JobSpec:
        """The same question about fewer units."""
        return self.model_copy(update={"units": tuple(units)})

    def to_wire(self) -> dict[str, Any]:
        """A JSON object; seeds are decimal text, because 63 bits do not survive every JSON reader."""
        wire = self.model_dump(mode="json")
        wire["units"] = [[u.index, str(u.seed)] for u in self.units]
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> JobSpec:
        """The job that `to_wire` wrote."""
        units = [{"index": index, "seed": int(seed)} for index, seed in wire["units"]]
        return cls.model_validate({**wire, "units": units})


def unit_key(job: JobSpec, unit: Unit, environment: Mapping[str, Any]) -> str:
    """The key under which a unit's answer is remembered: equal keys, equal numbers.

    Args:
        job: the question; its run, attempt and other units do not matter.
        unit: one of its units; only the seed counts, not the index.
        environment: device kind, versions and thread count, as `numeric_environment` gives them.
    """
    return sha256_of(
        {
            "plugin": job.plugin,
            "tool": job.tool,
            "version": job.version,
            "source_sha256": job.source_sha256,
            "params": job.params,
            "conditions": _sorted_or_none(job.conditions),
            "targets": job.targets,
            "environment": dict(environment),
            "seed": str(unit.seed),
        }
    )


def numeric_environment(resources: Resources) -> dict[str, Any]:
    """What of a worker can change the last bits of a number; read from package metadata, nothing imported."""
    return {
        "device": "cuda" if resources.gpus > 0 else "cpu",
        "threads": resources.cpus,
        "torch": installed_version("torch"),
        "numpy": installed_version("numpy"),
    }


@cache
def installed_version(package: str) -> str:
    """Version of an installed distribution, or `absent`."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


class Event(Frozen):
    """One thing that happened to one attempt. The only way anything comes back from a worker.

    `data` by kind:

    - `queued`: `units` (how many).
    - `started`: `pid`, `device`, `targets` (uri to fingerprint), `dtypes`, `versions`, `deterministic`, `load_s`.
    - `progress`: `done`, `total`. Never a value, so nothing of a confirm run is seen before it is stored.
    - `log`: `stream` (`stdout`, `stderr` or `worker`), `text`.
    - `units`: `units` (indices), `status` of `OUTCOME_STATUSES`, and either `table` (see `Measurements.to_json`)
      or `error_class`, `message`, `traceback_sha256` (None, or the name of a text artifact).
    - `artifact`: `name`, `sha256`, `bytes`, `media_type`, `file`.
    - `oom_retry`: `units_before`, `units_after`, `batch_before`, `batch_after`.
    - `end`: `status` of `END_STATUSES`, `error_class`, `message`, `traceback_sha256`, `seconds`, `peak_rss`,
      `peak_device_bytes`, `oom_retries`, `batch`, `log_bytes`, `units_left` (indices without an outcome).
    """

    kind: EventKind
    job_id: str
    run: str
    attempt: int
    fence: int
    worker: str
    seq: int
    data: dict[str, Any] = Field(default_factory=dict)

    def table(self) -> Measurements:
        """The measurements of a `units` event whose status is `ok`."""
        from agentkit.measurements import Measurements

        if self.kind != "units" or "table" not in self.data:
            raise WorkerError(f"a {self.kind} event of job {self.job_id} holds no measurements")
        return Measurements.from_json(self.data["table"])


def make_event(job: JobSpec, kind: EventKind, worker: str, seq: int, data: Mapping[str, Any]) -> Event:
    """An event about a job, with everything that it must echo."""
    return Event(
        kind=kind,
        job_id=job.job_id,
        run=job.run,
        attempt=job.attempt,
        fence=job.fence,
        worker=worker,
        seq=seq,
        data=dict(data),
    )


def _sorted_or_none(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def _require_json(value: Any, place: str) -> None:
    """Raise `WorkerError` at the first value that JSON does not have, naming its place."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise WorkerError(f"{place} has the key {key!r}: only text keys are JSON")
            _require_json(item, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _require_json(item, f"{place}[{i}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise WorkerError(f"{place} is not JSON ({value})")
    elif value is not None and not isinstance(value, str | int):
        raise WorkerError(f"{place} is not JSON (a {type(value).__name__})")
