"""`WorkersConfig`: which backend, how many, how much. The keys are those of the YAML block `workers:`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from agentkit.errors import ConfigError, near_names, unknown
from agentkit.types import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.workers.job import JobSpec

BACKENDS = ("inline", "local", "ray")
_BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_BYTES |= {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class WorkersConfig(Frozen):
    """Where jobs run.

    Args:
        backend: `inline` (this process; nothing can be killed), `local` (own processes), `ray` (a cluster).
        count: workers; None is one for each CPU that this process may use.
        gpus: `auto` uses the devices this process may see, 0 none, n the first n of them.
        memory: bytes (or `4GiB`) that one worker may hold; None divides the machine's memory.
        timeout_s: seconds for every job; `auto` lets the tool's `seconds_per_unit` decide.
        warm: share of a worker's memory in which loaded targets are kept (`50%` or 0.5).
        pass_env: names of environment variables that workers may see besides the built-in list.
        address: `HOST:PORT` of a Ray cluster; None starts one here.
        gpus_per_job: what a job of any tool that can use a GPU gets, for example 0.5; None keeps them on the CPU.
        artifacts: a folder that all nodes share, if there is one.
        wait_for_nodes_s: how long a job that no node satisfies may wait for an autoscaling cluster.
    """

    backend: Literal["inline", "local", "ray"] = "local"
    count: Annotated[int, Field(ge=1, le=1024)] | None = None
    gpus: Literal["auto"] | Annotated[int, Field(ge=0, le=1024)] = "auto"
    memory: Annotated[int, Field(ge=64 << 20)] | None = None
    timeout_s: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    warm: Annotated[float, Field(ge=0, le=1)] = 0.5
    pass_env: tuple[str, ...] = ()
    address: str | None = None
    gpus_per_job: Annotated[float, Field(gt=0, le=64)] | None = None
    artifacts: str | None = None
    wait_for_nodes_s: Annotated[float, Field(ge=0)] = 0

    @field_validator("memory", mode="before")
    @classmethod
    def _memory_in_bytes(cls, value: Any) -> Any:
        return parse_bytes(value) if isinstance(value, str) else value

    @field_validator("warm", mode="before")
    @classmethod
    def _warm_as_share(cls, value: Any) -> Any:
        if isinstance(value, str) and value.endswith("%"):
            return float(value[:-1]) / 100
        return value

    @field_validator("gpus_per_job")
    @classmethod
    def _gpus_are_a_share_or_whole(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and value != int(value):
            raise ValueError(f"{value:g}: a fraction below 1 or a whole number")
        return value

    @property
    def workers(self) -> int:
        """How many workers that is on this machine."""
        return self.count or available_cpus()

    def with_timeout(self, job: JobSpec) -> JobSpec:
        """The job with this configuration's time-out, unless it brings its own."""
        if self.timeout_s == "auto" or job.timeout_s is not None:
            return job
        return job.model_copy(update={"timeout_s": self.timeout_s})

    @classmethod
    def of(cls, said: str | Mapping[str, Any]) -> WorkersConfig:
        """What a study or a caller says: a word, as `parse` reads it, or the block `workers:`."""
        return cls.parse(said) if isinstance(said, str) else cls.from_mapping(dict(said))

    @classmethod
    def parse(cls, text: str) -> WorkersConfig:
        """`inline`, `local`, `local:4`, `ray`, `ray:HOST:6379` as typed after `--workers`.

        The keys of the YAML block may follow: `local:2,gpus_per_job=0.5,memory=4GiB`.

        Raises:
            ConfigError: an unknown backend (near names are offered), a count that is not one, a key that is none.
        """
        where, *more = (part.strip() for part in text.split(","))
        if more:
            return cls.from_mapping({**cls.parse(where).model_dump(exclude_unset=True), **_typed_keys(more)})
        backend, _, rest = where.partition(":")
        if backend not in BACKENDS:
            raise ConfigError(unknown("worker backend", backend, BACKENDS, hint="For example: local:2"))
        if not rest:
            return cls(backend=backend)
        if backend == "ray":
            return cls.from_mapping({"backend": backend, "address": rest})
        if backend == "inline" or not rest.isdigit() or int(rest) < 1:
            raise ConfigError(f"workers {text!r}: write inline, local:COUNT or ray:HOST:PORT")
        return cls.from_mapping({"backend": backend, "count": int(rest)})

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> WorkersConfig:
        """From the YAML block `workers:`.

        Raises:
            ConfigError: every fault in one line, each with its key (`workers.gpus …`).
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError("; ".join(_fault(dict(e)) for e in error.errors())) from None


def _typed_keys(parts: Sequence[str]) -> dict[str, str]:
    for part in parts:
        if "=" not in part:
            raise ConfigError(f"--workers: {part!r} is no key=value, for example gpus_per_job=1")
    return dict(p.split("=", 1) for p in parts)


def _fault(error: dict[str, Any]) -> str:
    key = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        return f"workers has no key {key!r}. {near_names(key, WorkersConfig.model_fields)}"
    if key == "gpus":
        return f"workers.gpus {error['input']}: auto or a whole number of devices (shares: gpus_per_job)"
    return f"workers.{key} {error['input']}: {error['msg'].removeprefix('Value error, ')}"


def parse_bytes(text: str) -> int:
    """`"4GiB"` in bytes; raises `ConfigError` for anything else."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2] not in _BYTES:
        raise ConfigError(f"{text!r} is not an amount of memory; write for example 4GiB")
    return int(float(match[1]) * _BYTES[match[2]])


def available_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
