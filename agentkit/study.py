"""`study.yaml`: a scripted run as data. Every error names file, line, key and what is allowed, all at once."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    Field,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from agentkit.errors import ConfigError, near_names
from agentkit.types import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

Positive = Annotated[float, Field(gt=0)]
MOST_HYPOTHESES = 10_000
FAMILY_UNITS = 6
"""Flipping the signs of n units gives no p-value below 2^(1-n): under .05 from six units on."""


def _most_hypotheses(value: Any) -> int | Literal["open"]:
    if value == "open":
        return "open"
    if type(value) is not int or not 1 <= value <= MOST_HYPOTHESES:
        raise ValueError(f"a whole number from 1 to {MOST_HYPOTHESES}, or open, is allowed")
    return value


class CampaignSection(Frozen):
    """The error budget that all hypotheses of the study share."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = "default"
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    max_hypotheses: Annotated[int | Literal["open"], PlainValidator(_most_hypotheses)] = 100


class Exploration(Frozen):
    """One look at what a tool does: the terms that a study's step and a planner's call have in common."""

    tool: Annotated[str, Field(description="name of a perturbation tool")]
    params: Annotated[dict[str, Any], Field(default_factory=dict, description="the tool's own params")]
    units: Annotated[int, Field(ge=1, le=256, description="fresh paired replicates")] = 8
    family_p: Annotated[
        bool, Field(description="also give each condition's p-value adjusted over the whole sweep (maxT)")
    ] = False

    @model_validator(mode="after")
    def _enough_units_for_a_family(self) -> Self:
        if self.family_p and self.units < FAMILY_UNITS:
            raise ValueError(
                f"family_p over {self.units} units cannot fall below {2.0 ** (1 - self.units):.3g}; "
                f"explore at least {FAMILY_UNITS} units"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_before_the_key_existed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A study is known by its content: one that does not use `family_p` stays the study it was recorded as."""
        content: dict[str, Any] = handler(self)
        return content if self.family_p else {k: v for k, v in content.items() if k != "family_p"}


class ExploreStep(Exploration):
    """One exploration: free, never evidence. `metric` and `sesoi` tell the planner what to follow up.

    `family_p` treats the sweep as one family: beside each condition stands its p-value adjusted over all of them.
    """

    metric: str | None = None
    sesoi: Positive | None = None


class HypothesisStep(Frozen):
    """A claim to register: the spec's own field names (see the ledger)."""

    tool: str
    params: dict[str, Any] = Field(default_factory=dict)
    condition: str | None = None
    contrast: dict[str, float] | None = None
    metric: str
    direction: Literal["greater", "less", "two_sided", "equivalent"]
    null: float = 0.0
    sesoi: Annotated[float, Field(ge=0)]
    test: Literal["bounded_mean", "sign", "sharp"] | None = None
    interval: Literal["two_sided", "one_sided"] = "two_sided"
    max_units: Annotated[int, Field(ge=1, le=100_000)] = 200
    failed: str = "worst_case"
    claim: str = ""

    @model_validator(mode="after")
    def _one_way_to_say_what_is_compared(self) -> HypothesisStep:
        if (self.condition is None) == (self.contrast is None):
            raise ValueError("give either condition (compared with baseline) or contrast")
        return self


class Budget(Frozen):
    """What may be spent, in five currencies; a step that would pass a cap is not started. None means no cap."""

    usd: Annotated[float, Field(ge=0)] | None = None
    tokens: Annotated[int, Field(ge=0)] | None = None
    runs: Annotated[int, Field(ge=0)] | None = None
    seconds: Annotated[float, Field(ge=0)] | None = None
    gpu_seconds: Annotated[float, Field(ge=0)] | None = None


class BudgetSection(Budget):
    """Caps of this session, narrower ones for single tools, and wider ones for all sessions of the campaign.

    Tools spend runs, seconds and gpu_seconds; models spend usd and tokens.
    """

    per_tool: dict[str, Budget] = Field(default_factory=dict)
    campaign: Budget = Budget()


Mode = Literal["auto", "ask", "deny"]


class ApprovalSection(Frozen):
    """Which calls of a planner run by themselves, which wait for somebody's word, and which are refused."""

    default: Mode = "auto"
    explore: Mode | None = None
    register_: Annotated[Mode | None, Field(alias="register")] = None
    run_batch: Mode | None = None
    stop: Mode | None = None
    status: Mode | None = None
    query: Mode | None = None
    report: Mode | None = None
    tools: dict[str, Mode] = Field(default_factory=dict)
    units_over: Annotated[int, Field(ge=0)] | None = None
    seconds_over: Annotated[float, Field(ge=0)] | None = None
    gpu_seconds_over: Annotated[float, Field(ge=0)] | None = None
    usd_over: Annotated[float, Field(ge=0)] | None = None
    """Once the session's models have cost more than this, each further call is asked about."""

    def of(self, call: str) -> Mode:
        """What is said about a call by its name, such as `register`."""
        said: Mode | None = getattr(self, "register_" if call == "register" else call)
        return said or self.default


class McpServerSection(Frozen):
    """Another MCP server, started on its stdin and stdout, whose tools inform a planner and are never experiments."""

    command: Annotated[list[str], Field(min_length=1)]
    tools: list[str] | None = None
    pass_env: list[str] = Field(default_factory=list)
    timeout_s: Positive = 60.0


class Study(Frozen):
    """A whole study. With a `goal` the planner drives; without one the file's own steps run in order."""

    goal: str | None = None
    campaign: CampaignSection = CampaignSection()
    planner: str = "offline"
    fallback: list[str] = Field(default_factory=list)
    tools: list[str] | None = None
    explore: list[ExploreStep] = Field(default_factory=list)
    hypotheses: list[HypothesisStep] = Field(default_factory=list)
    budget: BudgetSection = BudgetSection()
    approve: ApprovalSection = ApprovalSection()
    mcp_servers: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")], McpServerSection] = Field(
        default_factory=dict
    )
    store: str = "sqlite:///agentkit.db"
    workers: str | dict[str, Any] = "local"
    seed: Annotated[int, Field(ge=0)] | None = None
    report: str | None = None

    @model_validator(mode="after")
    def _something_to_do(self) -> Study:
        if not (self.goal or self.explore or self.hypotheses):
            raise ValueError("nothing to do: give a goal, explore steps or hypotheses")
        return self

    @field_validator("hypotheses")
    @classmethod
    def _each_claim_once(cls, claims: list[HypothesisStep], info: ValidationInfo) -> list[HypothesisStep]:
        for i, claim in enumerate(claims):
            if (first := claims.index(claim)) < i:
                raise ValueError(f"entry {i + 1} is entry {first + 1} again: a claim is registered once")
        campaign = info.data.get("campaign")
        if (
            campaign is not None
            and campaign.max_hypotheses != "open"
            and len(claims) > campaign.max_hypotheses
        ):
            raise ValueError(
                f"{len(claims)} claims do not fit max_hypotheses {campaign.max_hypotheses}; "
                "raise it before the campaign begins, or leave some out"
            )
        return claims


class _TextKeys(yaml.SafeLoader):
    """The safe loader, with keys taken as written: YAML would read the key `null` as nothing, and `no` as false."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


@dataclass(frozen=True)
class StudyFile:
    """A checked study and where each of its keys stands in the file."""

    study: Study
    name: str
    node: yaml.Node = field(repr=False)

    def with_study(self, study: Study) -> StudyFile:
        """The same file with other values, for options that override it."""
        return replace(self, study=study)

    def place(self, *keys: int | str) -> str:
        """`file:line` of a key, for messages about what only the installed plugins can tell."""
        return f"{self.name}:{_line_at(self.node, list(keys))}"


def load_study(path: str | Path) -> StudyFile:
    """Read and check a study file.

    Raises:
        ConfigError: unreadable, not one YAML mapping, duplicate or unknown keys, wrong values; each fault
            on its own line as `file:line: key: what is allowed (got …)`.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; write one or see examples/ for a start") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_study(text, str(path))


def parse_study(text: str, name: str) -> StudyFile:
    """Check the text of a study; `name` stands in error messages. Raises as `load_study`."""
    with _yaml_faults(name):
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{name}:1: a study is a mapping of keys such as goal, explore, hypotheses")
    if faults := list(_key_faults(node, set())):
        raise ConfigError("\n".join(f"{name}:{line}: {fault}" for line, fault in faults))
    with _yaml_faults(name):
        values = yaml.load(text, Loader=_TextKeys)  # noqa: S506 - a subclass of the safe loader
    try:
        return StudyFile(Study.model_validate(values), name, node)
    except ValidationError as error:
        lines = sorted(_faults_of(error, node, name))
        raise ConfigError("\n".join(text for _, text in lines)) from None


@contextmanager
def _yaml_faults(name: str) -> Iterator[None]:
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise ConfigError(f"{place}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {error}") from None


def _key_faults(node: yaml.Node, seen_nodes: set[int]) -> Iterator[tuple[int, str]]:
    """Keys given twice (YAML would keep the last in silence) or that are not text, with their lines."""
    if id(node) in seen_nodes:  # an anchor that is used again, perhaps inside itself
        return
    seen_nodes.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                yield line, "a key must be text"
                continue
            if key.value in seen:
                yield line, f"key {key.value!r} is given twice"
            seen.add(key.value)
            yield from _key_faults(value, seen_nodes)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _key_faults(item, seen_nodes)


def _faults_of(error: ValidationError, root: yaml.Node, name: str) -> Iterator[tuple[int, str]]:
    for fault in error.errors():
        place = [p for p in fault["loc"] if isinstance(p, int) or not p.startswith(("function-", "dict["))]
        dotted = ".".join(str(p) for p in place)
        line = _line_at(root, place)
        prefix = f"{name}:{line}: {dotted}: " if dotted else f"{name}:{line}: "
        if fault["type"] == "extra_forbidden":
            allowed = _fields_at(place[:-1])
            yield line, f"{prefix}unknown key. {near_names(str(place[-1]), allowed)}"
        elif fault["type"] == "missing":
            yield line, f"{prefix}required"
        else:
            message = fault["msg"].removeprefix("Value error, ")
            got = fault["input"]
            shown = f" (got {got!r})" if isinstance(got, str | int | float | bool) or got is None else ""
            yield line, f"{prefix}{message}{shown}"


def _line_at(node: yaml.Node, place: list[int | str]) -> int:
    line = node.start_mark.line + 1
    for step in place:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == str(step)]
            if not found:
                break
            key, node = found[0]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _fields_at(place: list[int | str]) -> list[str]:
    sections: dict[str, type[BaseModel]] = {
        "campaign": CampaignSection,
        "explore": ExploreStep,
        "hypotheses": HypothesisStep,
        "budget": BudgetSection,
        "approve": ApprovalSection,
    }
    model = sections.get(str(place[0]), Study) if place else Study
    return list(model.model_fields)
