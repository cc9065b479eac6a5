"""The tool contract: `Params`, `@tool`, `Context`, `@target`. The only thing a plugin author must learn."""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from agentkit.errors import MeasurementError, ParamError, PluginError, near_names, unknown
from agentkit.types import Metric, Resources, Unit

if TYPE_CHECKING:
    from agentkit.measurements import Measurements

TOOL_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?")
"""`name`, or `family.name` with one family per plugin."""

SCHEME_NAME = re.compile(r"[a-z][a-z0-9+-]*")


class Params(BaseModel):
    """What to perturb, where and how strongly. Subclass it; fields carry their range and description."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Context(Protocol):
    """What a tool may ask of the worker that runs it. Everything else comes from params and units."""

    @property
    def device(self) -> str:
        """`cpu`, or the device this job was given: `cuda:0`."""

    @property
    def workdir(self) -> Path:
        """A private folder that is removed when the job ends."""

    @property
    def conditions(self) -> frozenset[str] | None:
        """The conditions asked for (`baseline` always among them), or None for all of them.

        A tool may measure more than it is asked; one that honours this saves the time.
        """

    @property
    def cancelled(self) -> bool:
        """Whether the job should stop; look between units."""

    @property
    def batch(self) -> int | None:
        """Largest number of rows to put on the device at once, after an out-of-memory; else None."""

    def target(self, uri: str) -> Any:
        """The loaded target behind a URI, kept warm between jobs."""

    def progress(self, done: int, total: int) -> None:
        """Tell the user how far the job is. Never carries a value."""

    def artifact(self, name: str, value: Any) -> str:
        """Store a table, array or figure by content; returns its SHA-256.

        The suffix of `name` picks the format: `.json`, `.csv`, `.npz`, `.safetensors`, `.png`, `.svg`.
        """

    def read_artifact(self, sha256: str) -> bytes:
        """The bytes of an artifact that an earlier run stored, by its SHA-256.

        Raises:
            ParamError: this worker does not have it.
        """

    def wants(self, condition: str) -> bool:
        """Whether `condition` was asked for (always true for `baseline`)."""

    def keep(self, unit: Unit, name: str, arrays: Mapping[str, Any]) -> None:
        """Keep working arrays of a long unit, so that a repetition after a lost worker or driver can go on from them.

        They are forgotten when the unit is answered, and belong to this very question: other params never see them.
        """

    def kept(self, unit: Unit, name: str) -> dict[str, Any] | None:
        """The arrays that an earlier, unfinished attempt at this unit kept under this name, or None."""


ToolFunction = Callable[[Any, Sequence[Unit], Context], "Measurements"]


@dataclass(frozen=True)
class Tool:
    """One perturbation technique: a typed function with declared metrics, resources and version.

    Made by the decorator `tool`. Call it like the function: `tool(params, units, ctx)`.
    """

    name: str
    version: str
    function: ToolFunction = field(repr=False)
    params_model: type[Params] = field(repr=False)
    metrics: tuple[Metric, ...]
    resources: Resources = field(default_factory=Resources)
    seconds_per_unit: float | None = None
    explore_only: bool = False
    atol: float = 0.0
    splits_conditions: bool = False
    any_device: bool = False
    controls: tuple[str, ...] = ()

    def __call__(self, params: Params, units: Sequence[Unit], ctx: Context) -> Measurements:
        """Run the function itself; workers do this, users rarely."""
        return self.function(params, units, ctx)

    def on_gpus(self, share: float) -> Tool:
        """The same tool asking for at least `share` GPUs, if it can use one at all."""
        if not (self.any_device or self.resources.gpus):
            return self
        gpus = max(share, self.resources.gpus)
        return replace(self, resources=self.resources.model_copy(update={"gpus": gpus}))

    @property
    def description(self) -> str:
        """The docstring: what a planner reads."""
        return inspect.cleandoc(self.function.__doc__ or "")

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return self.description.split("\n", 1)[0]

    @property
    def module(self) -> str:
        """Where the function lives: `package.module`."""
        return self.function.__module__

    @cached_property
    def source_sha256(self) -> str:
        """Hash of every Python file of the package the tool lives in: another kernel is another tool."""
        return _package_sha256(self.module)

    def metric(self, name: str) -> Metric:
        """The declared metric of that name; raises `ParamError` with near names."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise ParamError(unknown(f"metric of {self.name}", name, [m.name for m in self.metrics]))

    def parse(self, params: Mapping[str, Any] | Params) -> Params:
        """Params checked against the tool's model.

        Raises:
            ParamError: unknown or missing field, wrong type, out of range; every fault in one message.
        """
        if isinstance(params, self.params_model):
            return params
        values = params.model_dump() if isinstance(params, Params) else dict(params)
        try:
            return self.params_model.model_validate(values)
        except ValidationError as error:
            raise ParamError(
                f"{self.name}: " + "; ".join(_fault(e, self.params_model) for e in _own(error.errors()))
            ) from None

    def schema(self) -> dict[str, Any]:
        """JSON schema of the params."""
        return self.params_model.model_json_schema()

    def check(self, table: Measurements, units: Sequence[Unit]) -> None:
        """Refuse a table that is not about these units or that names undeclared metrics.

        Raises:
            MeasurementError: naming the unit or the metric.
        """
        asked, given = {u.index for u in units}, set(table.units)
        if asked != given:
            raise MeasurementError(
                f"{self.name} returned units {sorted(given)}; units {sorted(asked)} were asked for"
            )
        declared = [m.name for m in self.metrics]
        for metric in table.metrics:
            if metric not in declared:
                raise MeasurementError(f"{self.name}: {unknown('declared metric', metric, declared)}")


def tool(
    *,
    metrics: Sequence[Metric],
    version: str,
    name: str | None = None,
    resources: Resources | None = None,
    seconds_per_unit: float | None = None,
    explore_only: bool = False,
    atol: float = 0.0,
    splits_conditions: bool = False,
    any_device: bool = False,
    controls: Sequence[str] = (),
) -> Callable[[ToolFunction], Tool]:
    """Turn `f(params: YourParams, units, ctx) -> Measurements` into a tool.

    Args:
        metrics: what it measures, with the tightest true ranges.
        version: raise it whenever the same params and unit give other numbers.
        name: `family.name`; the function's name unless said.
        resources: what one job needs; one CPU thread unless said.
        seconds_per_unit: a first guess for cost estimates, if known.
        explore_only: the values do not depend on the unit, so no hypothesis may rest on them.
        atol: largest difference between two runs of one unit; 0 promises bit-equality on one machine.
        splits_conditions: conditions may be computed by different workers without changing a value.
        any_device: it computes on `ctx.device`, whatever that is: it needs no GPU, and uses one that the user gives.
        controls: conditions that show the floor or ceiling of a metric (`chance`), by their whole names: they are shown
            beside the others, and no planner proposes a claim about them of its own accord.

    Raises:
        PluginError: when the tool is defined, if the signature, docstring, name or metrics are not usable.
    """

    def define(function: ToolFunction) -> Tool:
        tool_name = name or function.__name__
        if not TOOL_NAME.fullmatch(tool_name):
            raise PluginError(f"tool {tool_name!r}: a name is `name` or `family.name` in lower case")
        params_model = _checked_signature(function, tool_name)
        if not (function.__doc__ or "").strip():
            raise PluginError(f"tool {tool_name!r} has no docstring; the planner reads it to choose a tool")
        names = [m.name for m in metrics]
        if not names or len(set(names)) != len(names):
            raise PluginError(
                f"tool {tool_name!r}: declare at least one metric, each name once (got {names})"
            )
        return Tool(
            name=tool_name,
            version=str(version),
            function=function,
            params_model=params_model,
            metrics=tuple(metrics),
            resources=resources or Resources(),
            seconds_per_unit=seconds_per_unit,
            explore_only=explore_only,
            atol=atol,
            splits_conditions=splits_conditions,
            any_device=any_device,
            controls=tuple(controls),
        )

    return define


@dataclass(frozen=True)
class TargetLoader:
    """How a URI scheme is loaded. `fingerprint` says what would be loaded, without loading it.

    Args:
        scheme: the part before the colon: `minilm` for `minilm:`.
        load: `load(rest, device) -> object`, where `rest` is what follows the colon.
        fingerprint: `fingerprint(rest) -> str`: equal text means equal bytes.
    """

    scheme: str
    load: Callable[[str, str], Any] = field(repr=False)
    fingerprint: Callable[[str], str] = field(repr=False)

    @property
    def summary(self) -> str:
        """First line of the loader's docstring."""
        return inspect.cleandoc(self.load.__doc__ or "").split("\n", 1)[0]


def target(
    scheme: str, *, fingerprint: Callable[[str], str]
) -> Callable[[Callable[[str, str], Any]], TargetLoader]:
    """Turn `load(rest, device) -> object` into the loader of a URI scheme.

    Raises:
        PluginError: when the scheme is not lower-case letters, digits, `+` or `-`.
    """
    if not SCHEME_NAME.fullmatch(scheme):
        raise PluginError(f"target scheme {scheme!r}: lower-case letters, digits, '+' and '-' only")

    def define(load: Callable[[str, str], Any]) -> TargetLoader:
        return TargetLoader(scheme, load, fingerprint)

    return define


def split_uri(uri: str) -> tuple[str, str]:
    """`("minilm", "rest")` of `minilm:rest`; raises `ParamError` when there is no scheme."""
    scheme, colon, rest = uri.partition(":")
    if not colon or not SCHEME_NAME.fullmatch(scheme):
        raise ParamError(f"{uri!r} is not a target URI; write scheme:rest, for example minilm:")
    return scheme, rest


def _checked_signature(function: ToolFunction, tool_name: str) -> type[Params]:
    parameters = list(inspect.signature(function).parameters.values())
    shape = "(params: YourParams, units: Sequence[Unit], ctx: Context) -> Measurements"
    if [p.name for p in parameters] != ["params", "units", "ctx"]:
        raise PluginError(f"tool {tool_name!r} has the wrong signature; it must be {shape}")
    annotation = parameters[0].annotation
    if isinstance(annotation, str):  # `from __future__ import annotations`
        try:
            annotation = eval(annotation, function.__globals__)  # noqa: S307 - the author's own annotation
        except NameError as error:
            raise PluginError(
                f"tool {tool_name!r}: the annotation of params is unknown here ({error})"
            ) from None
    if not (isinstance(annotation, type) and issubclass(annotation, Params)):
        raise PluginError(f"tool {tool_name!r}: params must be annotated with a subclass of agentkit.Params")
    return annotation


def _own(errors: Sequence[Any]) -> list[Any]:
    """The faults without echoes: a list whose only item is at fault is called too short as well."""
    places = [e["loc"] for e in errors]
    return [
        e
        for e in errors
        if e["type"] != "too_short"
        or not any(p != e["loc"] and p[: len(e["loc"])] == e["loc"] for p in places)
    ]


def _fault(error: Any, model: type[Params]) -> str:
    place = ".".join(str(p) for p in error["loc"]) or "params"
    if error["type"] == "extra_forbidden":
        return f"no param {place!r}. {near_names(place, model.model_fields)}"
    if error["type"] in ("list_type", "tuple_type"):
        return f"param {place!r} takes a list: write [{error['input']}]"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"param {place!r} is required"
    return f"param {place!r}: {message} (got {error['input']!r})"


def _package_sha256(module: str) -> str:
    top = sys.modules.get(module.partition(".")[0])
    origin = getattr(top, "__file__", None)
    if top is None or origin is None:  # a notebook or an interactive session: the text itself is not on disk
        return hashlib.sha256(module.encode()).hexdigest()
    path = Path(origin)
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(path.parent).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
