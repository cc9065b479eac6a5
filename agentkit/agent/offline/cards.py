"""What the planner knows of a tool: read from the bound schema and description, and from nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from agentkit.agent.offline.words import pieces, stem, stems_of

SCHEME = re.compile(r"\b([a-z][a-z0-9+-]*):(?=[\w.…/])")
BARE_SCHEME = re.compile(r"\b([a-z][a-z0-9+-]*):(?=[,;)]|\s\(|$)")
COMPANION = re.compile(r"\b([a-z][a-z0-9+-]*:)\s\([^)]*\bfor ([a-z][a-z0-9+-]*:)")
DEFAULT_SCHEME = re.compile(r"([a-z][a-z0-9+-]*):\S*")
STRENGTH_WORDS = frozenset(
    stem(w)
    for w in [
        "strength",
        "radius",
        "eps",
        "rate",
        "dose",
        "fraction",
        "share",
        "severity",
        "sigma",
        "amplitude",
        "span",
    ]
)
SITE = re.compile(r"L(?:\d+|\*)\.H(?:\d+|\*)")


@dataclass(frozen=True)
class MetricCard:
    """A metric as the description names it; `low` and `high` are None where there is no bound."""

    name: str
    low: float | None
    high: float | None
    baseline: float | None = None

    @property
    def is_bounded_outcome(self) -> bool:
        """Whether it has a range and no fixed value at the untouched target."""
        return self.baseline is None and self.low is not None and self.high is not None

    @property
    def words(self) -> tuple[str, ...]:
        """Stems of the words in its name, numbers and little words left out."""
        return tuple(stem(p) for p in pieces(self.name) if not p.isdigit() and p not in ("at", "of", "n"))


@dataclass(frozen=True, eq=False)
class ParamCard:
    """One param of a tool, flattened from its JSON schema; `path` has two parts inside an object param."""

    path: tuple[str, ...]
    description: str
    types: frozenset[str]
    item_types: frozenset[str]
    low: float | None
    high: float | None
    low_excluded: bool
    values: tuple[Any, ...]
    default: Any
    required: bool
    open_values: bool = False
    alone: frozenset[Any] = frozenset()
    """Values that stand for the whole list: `all` in `regulators | all or list of string`."""

    @property
    def name(self) -> str:
        """The key itself."""
        return self.path[-1]

    @property
    def is_list(self) -> bool:
        """Whether several values may be given at once."""
        return "array" in self.types

    @property
    def numeric(self) -> bool:
        """Whether numbers may be given, alone or in a list."""
        return bool({"number", "integer"} & (self.types | self.item_types))

    @property
    def integral(self) -> bool:
        """Whether every number must be whole."""
        return self.numeric and "number" not in (self.types | self.item_types)

    @property
    def textual(self) -> bool:
        """Whether free text may be given, alone or in a list."""
        return "string" in (self.types | self.item_types) and (not self.values or self.open_values)

    @cached_property
    def name_words(self) -> tuple[str, ...]:
        """Stems of the words in the name."""
        return tuple(stem(p) for p in pieces(self.name))

    @cached_property
    def described_by(self) -> frozenset[str]:
        """Stems of the first words of the description."""
        return frozenset(stems_of(re.sub(r"\(.*?\)", " ", self.description))[:8])

    @cached_property
    def is_strength(self) -> bool:
        """Whether it says how strongly the target is perturbed."""
        words = {*self.name_words, *stems_of(self.description)[:4]}
        if not self.numeric or self.integral:
            return False
        return bool(words & STRENGTH_WORDS) and (self.is_list or bool(set(self.name_words) & STRENGTH_WORDS))

    @property
    def unit_interval(self) -> bool:
        """Whether values lie in [0, 1], so that 30 % means 0.3."""
        return self.high is not None and self.high <= 1

    @cached_property
    def schemes(self) -> frozenset[str]:
        """URI schemes that the default or the description names."""
        default = DEFAULT_SCHEME.fullmatch(self.default) if isinstance(self.default, str) else None
        bare = self.bare_schemes if default else ()
        return frozenset([*SCHEME.findall(self.description), *bare, *([default[1]] if default else [])])

    @cached_property
    def bare_schemes(self) -> frozenset[str]:
        """Schemes that stand for a whole URI, nothing after them: `effnet-lite0:`."""
        return frozenset(
            BARE_SCHEME.findall(re.sub(r"\s\([^)]*\)", " ;", self.description).replace(" ;", ";"))
        )

    @cached_property
    def whole_schemes(self) -> frozenset[str]:
        """Schemes that may be written alone: `minilm:`, and not `graph:`, which in a sentence is a word and a colon."""
        alone = isinstance(self.default, str) and self.default.endswith(":")
        return self.bare_schemes | ({self.default[:-1]} if alone else frozenset())

    def companion_of(self, uri: str) -> str | None:
        """What the description says goes with another param's URI: `photos: (224 x 224, for effnet-lite0:)`."""
        return next((own for own, other in self.companions if other == uri), None)

    @cached_property
    def companions(self) -> tuple[tuple[str, str], ...]:
        """Pairs of an own URI and the other param's that it is for."""
        return tuple(COMPANION.findall(self.description))

    @cached_property
    def takes_sites(self) -> bool:
        """Whether it names sites such as L3.H2."""
        return self.textual and bool(SITE.search(f"{self.default} {self.description}"))

    @cached_property
    def takes_layers(self) -> bool:
        """Whether it names layers and no heads."""
        return bool(re.search(r"\blayers?\b", self.description)) and "head" not in self.description

    @cached_property
    def names_sites(self) -> bool:
        """Whether it names sites, or says that it takes a pattern of heads or layers."""
        patterned = re.search(r"\bpattern\b", self.description) and re.search(
            r"\b(?:head|layer)s?\b", self.description
        )
        return self.takes_sites or (self.textual and len(self.path) == 1 and bool(patterned))

    def inside(self, value: float) -> bool:
        """Whether the bounds allow a number."""
        if self.values and self.numeric and not self.open_values:
            return value in self.values
        above = self.low is None or value > self.low or (value == self.low and not self.low_excluded)
        whole = not self.integral or float(value).is_integer()
        return above and whole and (self.high is None or value <= self.high)


@dataclass(frozen=True, eq=False)
class ToolCard:
    """One perturbation tool."""

    name: str
    summary: str
    rest: str
    metrics: tuple[MetricCard, ...]
    params: tuple[ParamCard, ...]
    seconds_per_unit: float | None = None
    fields: dict[str, list[str]] = field(default_factory=dict, compare=False)

    def metric(self, name: str) -> MetricCard:
        """The metric with that name."""
        return next(m for m in self.metrics if m.name == name)

    def param(self, name: str) -> ParamCard | None:
        """The top-level param with that name."""
        return next((p for p in self.params if p.path == (name,)), None)

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Every search word of the card."""
        return frozenset(w for words in self.fields.values() for w in words)
