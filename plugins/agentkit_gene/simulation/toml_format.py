"""Our own network file: TOML, written by hand or by `to_toml`, read back to the same value.

    name = "toggle"
    types = ["cell"]            # optional
    decay = 1.0                 # defaults for every gene: decay, hill, init, translation, protein_decay
    [[gene]]
    name = "A"
    basal = 0.0                 # one number, or one a cell type
    [[edge]]
    from = "B"
    to = "A"
    K = -40.0
    h = 10.0                    # optional where the wild type has a stable steady state
    n = 2.0

A gene may follow a rule (`rule = "A & !B"`, `maximum = 40`) or modules with state levels (`alpha`).
"""

from __future__ import annotations

import tomllib
from typing import Any

from agentkit.errors import near_names
from agentkit_gene.simulation.boolean import states_of_rule
from agentkit_gene.simulation.errors import BadNetworkError
from agentkit_gene.simulation.network import Edge, Gene, Input, Module, Network, States

_TOP = {"name", "types", "source", "kinetics", "gene", "edge"}
_DEFAULTS = {"decay", "hill", "init", "translation", "protein_decay", "maximum"}
_GENE = {
    "name",
    "decay",
    "basal",
    "init",
    "translation",
    "protein_decay",
    "rule",
    "maximum",
    "hill",
    "alpha",
    "module",
}
_EDGE = {"from", "to", "K", "h", "n"}


def read_toml(text: str, place: str) -> Network:
    """The network a TOML text describes.

    Raises:
        BadNetworkError: naming the file and the table, key or gene at fault.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadNetworkError(f"{place}: not TOML: {error}") from None
    _refuse_unknown(data, _TOP | _DEFAULTS, place)
    defaults = {key: data[key] for key in _DEFAULTS & data.keys()}
    types = tuple(data.get("types", ["cell"]))
    tables = [{**defaults, **gene} for gene in data.get("gene", [])]
    half = {_name(t, place): t.get("maximum", 1.0) / t.get("decay", 1.0) / 2 for t in tables}
    edges = _edges_by_target(data.get("edge", []), defaults, half.keys(), place)
    genes = tuple(_gene(t, edges.get(t["name"], ()), half, len(types), place) for t in tables)
    rules = tuple((t["name"], t["rule"]) for t in tables if "rule" in t)
    try:
        return Network(
            str(data.get("name", place)),
            genes,
            types,
            str(data.get("source", "")),
            str(data.get("kinetics", "")),
            rules if len(rules) == len(genes) else (),
        )
    except BadNetworkError as error:
        raise BadNetworkError(f"{place}: {error}") from None


def _edges_by_target(
    tables: list[dict[str, Any]], defaults: dict[str, Any], names: Any, place: str
) -> dict[str, tuple[Edge, ...]]:
    found: dict[str, tuple[Edge, ...]] = {}
    for i, table in enumerate(tables, 1):
        here = f"{place}, edge {i}"
        _refuse_unknown(table, _EDGE, here)
        for key in ("from", "to", "K"):
            if key not in table:
                raise BadNetworkError(f"{here}: {key!r} is required")
        if table["to"] not in names:
            raise BadNetworkError(
                f"{here}: target {table['to']!r} is no gene. {near_names(table['to'], names)}"
            )
        half = None if table.get("h") is None else float(table["h"])
        edge = Edge(table["from"], float(table["K"]), half, float(table.get("n", defaults.get("hill", 2.0))))
        found[table["to"]] = (*found.get(table["to"], ()), edge)
    return found


def _gene(
    table: dict[str, Any], edges: tuple[Edge, ...], half: dict[str, float], n_types: int, place: str
) -> Gene:
    name = table["name"]
    here = f"{place}, gene {name!r}"
    _refuse_unknown(table, _GENE, here)
    basal = table.get("basal", 0.0)
    rates = tuple(map(float, basal)) if isinstance(basal, list) else (float(basal),) * n_types
    protein_decay = table.get("protein_decay")
    return Gene(
        name,
        decay=float(table.get("decay", 1.0)),
        basal=rates,
        edges=edges,
        states=_states(table, half, here),
        init=float(table.get("init", 0.0)),
        translation=float(table.get("translation", 1.0)),
        protein_decay=None if protein_decay is None else float(protein_decay),
    )


def _states(table: dict[str, Any], half: dict[str, float], here: str) -> States | None:
    maximum, hill = float(table.get("maximum", 1.0)), float(table.get("hill", 2.0))
    if "rule" in table:
        return states_of_rule(table["rule"], here, maximum=maximum, half=half, hill=hill)
    if "alpha" not in table:
        return None
    modules = tuple(
        Module(
            tuple(
                Input(i["from"], float(i["h"]), float(i.get("n", hill)), bool(i.get("activates", True)))
                for i in module["inputs"]
            ),
            bool(module.get("complex", False)),
        )
        for module in table.get("module", [])
    )
    return States(maximum, modules, tuple(map(float, table["alpha"])))


def _name(table: dict[str, Any], place: str) -> str:
    if not isinstance(table.get("name"), str):
        raise BadNetworkError(f"{place}: a [[gene]] table has no name")
    return str(table["name"])


def _refuse_unknown(table: dict[str, Any], known: set[str], place: str) -> None:
    for key in table:
        if key not in known:
            raise BadNetworkError(f"{place}: no key {key!r}. {near_names(key, known)}")


def to_toml(network: Network) -> str:
    """The network as a TOML text that `read_toml` turns back into an equal value."""
    lines = [f"name = {_text(network.name)}", f"types = [{', '.join(map(_text, network.types))}]"]
    lines += [f"{key} = {_text(value)}" for key in ("source", "kinetics") if (value := getattr(network, key))]
    for gene in network.genes:
        lines += ["", "[[gene]]", f"name = {_text(gene.name)}", f"decay = {gene.decay!r}"]
        lines += [f"basal = [{', '.join(map(repr, gene.basal))}]", f"init = {gene.init!r}"]
        lines += [f"translation = {gene.translation!r}"]
        if gene.protein_decay is not None:
            lines.append(f"protein_decay = {gene.protein_decay!r}")
        if gene.states is not None:
            lines += _states_lines(gene.states)
    for gene in network.genes:
        for edge in gene.edges:
            lines += ["", "[[edge]]", f"from = {_text(edge.regulator)}", f"to = {_text(gene.name)}"]
            lines += [f"K = {edge.strength!r}", f"n = {edge.hill!r}"]
            lines += [] if edge.half is None else [f"h = {edge.half!r}"]
    return "\n".join(lines) + "\n"


def _states_lines(states: States) -> list[str]:
    lines = [f"maximum = {states.maximum!r}", f"alpha = [{', '.join(map(repr, states.alpha))}]"]
    for module in states.modules:
        inputs = ", ".join(
            f"{{from = {_text(i.regulator)}, h = {i.half!r}, n = {i.hill!r}, activates = {str(i.activates).lower()}}}"
            for i in module.inputs
        )
        lines += ["[[gene.module]]", f"complex = {str(module.complex).lower()}", f"inputs = [{inputs}]"]
    return lines


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
