"""What the planner knows of a tool: read from the bound schema and description, and from nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from agentkit.agent.names import from_wire
from agentkit.agent.offline.words import pieces, stem, stems_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

METRIC = re.compile(
    r"(?P<name>\w+) \[(?P<low>[^,\]]+), (?P<high>[^,\]]+)(?:, baseline (?P<baseline>[^\]]+))?\]"
)
METRICS_LINE = re.compile(r"^Metrics: (?P<metrics>.*)$", re.MULTILINE)
COST = re.compile(r"About (?P<seconds>[\d.e+-]+) s/unit")
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


def read_cards(tools: Sequence[Mapping[str, Any]]) -> tuple[tuple[ToolCard, ...], frozenset[str]]:
    """Cards of the perturbation tools among the bound ones, by name, and the names of all other calls.

    A perturbation tool is one whose description lists its metrics. Read once per set of schemas.
    """
    return _read_cards(json.dumps(list(tools), sort_keys=True))


@lru_cache(maxsize=4)
def _read_cards(schemas: str) -> tuple[tuple[ToolCard, ...], frozenset[str]]:
    tools: list[dict[str, Any]] = json.loads(schemas)
    cards, others = [], set()
    for tool in tools:
        function = tool.get("function", tool)
        name = from_wire(str(function["name"]))
        description = str(function.get("description") or "")
        schema = function.get("parameters") or function.get("input_schema") or {}
        lines = list(
            METRICS_LINE.finditer(description)
        )  # the last one is generated; a docstring may hold its own
        if lines and METRIC.search(lines[-1]["metrics"]):
            cards.append(_card(name, description[: lines[-1].start()].strip(), lines[-1]["metrics"], schema))
        else:
            others.add(name)
    return tuple(sorted(cards, key=lambda c: c.name)), frozenset(others)


def _card(name: str, prose: str, metrics_line: str, schema: Mapping[str, Any]) -> ToolCard:
    summary, _, rest = prose.partition("\n")
    metrics = tuple(_metric(m) for m in METRIC.finditer(metrics_line))
    params = tuple(_params(schema, schema))
    cost = COST.search(metrics_line)
    own = " ".join(
        f"{p.name} {p.description} {' '.join(map(str, p.values))} {p.default if isinstance(p.default, str | list) else ''}"
        for p in params
        if p.path != ("units",)
    )
    fields = {
        "name": stems_of(name.replace(".", " ")),
        "summary": stems_of(summary),
        "schema": stems_of(f"{own} {' '.join(m.name for m in metrics)}"),
        "rest": stems_of(rest),
    }
    seconds = float(cost["seconds"].rstrip(".")) if cost else None
    return ToolCard(name, summary, rest.strip(), metrics, params, seconds, fields)


def _metric(match: re.Match[str]) -> MetricCard:
    low, high = (None if "inf" in match[k] else float(match[k]) for k in ("low", "high"))
    return MetricCard(match["name"], low, high, float(match["baseline"]) if match["baseline"] else None)


def _params(
    schema: Mapping[str, Any], root: Mapping[str, Any], parent: tuple[str, ...] = ()
) -> list[ParamCard]:
    cards: list[ParamCard] = []
    required = set(schema.get("required", ()))
    for name, part in schema.get("properties", {}).items():
        branches = [_resolved(b, root) for b in _branches(_resolved(part, root), root)]
        cards.append(_param((*parent, name), part, branches, root, name in required))
        if not parent:
            for branch in branches:
                cards += _params(branch, root, (name,)) if branch.get("type") == "object" else []
    return cards


def _param(
    path: tuple[str, ...],
    part: Mapping[str, Any],
    branches: Sequence[Mapping[str, Any]],
    root: Mapping[str, Any],
    required: bool,
) -> ParamCard:
    items = [
        _resolved(leaf, root)
        for b in branches
        for leaf in _branches(_resolved(b.get("items") or {}, root), root)
        if b.get("type") == "array"
    ]
    leaves = [*branches, *items]
    values = [
        v for leaf in leaves for v in (leaf.get("enum") or ([leaf["const"]] if "const" in leaf else []))
    ]
    open_text = any(leaf.get("type") == "string" and not ({"enum", "const"} & set(leaf)) for leaf in leaves)
    description = str(part.get("description") or _resolved(part, root).get("description") or "")
    soft = _listed_values(description, part.get("default")) if open_text and not values else []
    lows = [leaf[k] for leaf in leaves for k in ("minimum", "exclusiveMinimum") if k in leaf]
    highs = [leaf[k] for leaf in leaves for k in ("maximum", "exclusiveMaximum") if k in leaf]
    return ParamCard(
        path=path,
        description=description,
        types=frozenset(str(b["type"]) for b in branches if "type" in b),
        item_types=frozenset(str(i["type"]) for i in items if "type" in i),
        low=min(lows) if lows else None,
        high=max(highs) if highs else None,
        low_excluded=any("exclusiveMinimum" in leaf for leaf in leaves),
        values=tuple(dict.fromkeys([*values, *soft])),
        default=part.get("default"),
        required=required,
        open_values=open_text,
        alone=frozenset(
            v for b in branches for v in (b.get("enum") or ([b["const"]] if "const" in b else []))
        ),
    )


def _branches(part: Mapping[str, Any], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    options = part.get("anyOf") or part.get("oneOf") or part.get("allOf")
    if not options:
        return [part]
    return [leaf for o in options for leaf in _branches(_resolved(o, root), root)]


def _resolved(part: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, or what its `$ref` points to."""
    while "$ref" in part:
        node: Any = root
        for step in str(part["$ref"]).removeprefix("#/").split("/"):
            node = node.get(step, {})
        part = node
    return part


def _listed_values(description: str, default: Any) -> list[str]:
    """Values that a free-text param spells out: `gaussian, uniform (half-width), shot …`, and its default's."""
    if not isinstance(default, list):
        return []
    plain = re.sub(r"\([^)]*\)", "", description)
    entries = [e.strip() for e in plain.split(",")]
    listed = [e for e in entries if re.fullmatch(r"[a-z][a-z0-9_]*", e)]
    shown = [str(d) for d in default if isinstance(d, str)]
    return [*shown, *listed] if len(listed) >= max(2, len(entries) // 2) else []
