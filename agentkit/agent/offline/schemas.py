"""Reading tools' schemas and descriptions as cards: everything that the planner will ever know of a tool."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from agentkit.agent.names import from_wire
from agentkit.agent.offline.cards import MetricCard, ParamCard, ToolCard
from agentkit.agent.offline.words import stems_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

METRIC = re.compile(
    r"(?P<name>\w+) \[(?P<low>[^,\]]+), (?P<high>[^,\]]+)(?:, baseline (?P<baseline>[^\]]+))?\]"
)
METRICS_LINE = re.compile(r"^Metrics: (?P<metrics>.*)$", re.MULTILINE)
COST = re.compile(r"About (?P<seconds>[\d.e+-]+) s/unit")


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
