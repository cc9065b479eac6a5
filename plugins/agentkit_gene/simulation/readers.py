"""Reading other people's network files: SERGIO v1, signed edge lists, Graphviz dot, Boolean rules, GNW SBML."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agentkit import derive_seed
from agentkit.errors import TargetUnavailableError
from agentkit_gene.simulation.boolean import network_of_rules
from agentkit_gene.simulation.errors import BadNetworkError, UnsignedNetworkError
from agentkit_gene.simulation.network import Edge, Gene, Network
from agentkit_gene.simulation.sbml import read_sbml
from agentkit_gene.simulation.toml_format import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DECAY = 0.8
STRENGTH = 3.0
BASAL = 0.5
"""Kinetics given to a file that holds structure only (SERGIO's decay, the middle of its range of K)."""

_SIGNS = {"+": 1, "-": -1, "1": 1, "2": -1, "-1": -1, "activation": 1, "repression": -1}


def read_network(path: Path, options: Mapping[str, str]) -> Network:
    """The network in a file, by its suffix.

    Args:
        path: `.toml`, `.xml`/`.sbml` (GNW), `.bnet`, `.tsv` (signed edges), `.dot`, or SERGIO's interaction file
            (`.txt`/`.csv`) with `options["regulators"]` naming its master regulator file.
        options: from the URI: `regulators` (SERGIO), `signs=random:0.56` (give unsigned edges a sign).

    Raises:
        BadNetworkError: the file contradicts itself; the line is named.
        UnsignedNetworkError: an edge has no sign and none was asked for.
    """
    if not path.is_file():
        raise TargetUnavailableError(
            f"no network file {path}; give grn:NAME for a shipped one, or an existing path"
        )
    text, place, suffix = path.read_text(encoding="utf-8"), str(path), path.suffix.lower()
    if suffix == ".toml":
        return read_toml(text, place)
    if suffix in (".xml", ".sbml"):
        return read_sbml(text, place)
    if suffix == ".bnet":
        return read_bnet(text, place)
    if suffix in (".dot", ".gv"):
        return network_of_edges(_dot_edges(text, place), place, options.get("signs"))
    if suffix == ".tsv":
        return network_of_edges(_tsv_edges(text, place), place, options.get("signs"))
    if suffix in (".txt", ".csv"):
        return read_sergio(path, options)
    raise BadNetworkError(f"{place}: suffix {suffix!r}; known: .toml .xml .sbml .bnet .dot .tsv .txt .csv")


def read_sergio(path: Path, options: Mapping[str, str]) -> Network:
    """SERGIO v1: interactions `target, n, regulators, K, hill` and master regulators `gene, rate per type`.

    Every gene of either file is kept, in numeric order, named `G<id>`; h is left to the wild type.
    """
    masters_path = path.with_name(options["regulators"]) if "regulators" in options else _sergio_masters(path)
    masters = {int(row[0]): tuple(row[1:]) for _, row in _numbers(masters_path)}
    edges: dict[int, tuple[Edge, ...]] = {}
    for line, row in _numbers(path):
        n = int(row[1])
        if len(row) != 2 + 3 * n:
            raise BadNetworkError(
                f"{path}, line {line}: {len(row)} values for {n} regulators; {2 + 3 * n} are needed"
            )
        if int(row[0]) in edges:
            raise BadNetworkError(f"{path}, line {line}: target {int(row[0])} is given twice")
        regulators, strengths, hills = row[2 : 2 + n], row[2 + n : 2 + 2 * n], row[2 + 2 * n :]
        edges[int(row[0])] = tuple(
            Edge(f"G{int(j)}", k, None, h) for j, k, h in zip(regulators, strengths, hills, strict=True)
        )
    ids = sorted({*masters, *edges, *(int(e.regulator[1:]) for row in edges.values() for e in row)})
    n_types = len(next(iter(masters.values()), (0.0,)))
    genes = tuple(
        Gene(f"G{i}", decay=DECAY, basal=masters.get(i, (0.0,) * n_types), edges=edges.get(i, ()))
        for i in ids
    )
    types = tuple(f"type{c}" for c in range(n_types))
    return Network(
        path.stem, genes, types, source=str(path.name), kinetics="K, n and rates of the file; h derived"
    )


def _sergio_masters(path: Path) -> Path:
    for there, pattern in (("Interaction_", "Regs_"), ("input_GRN", "input_MRs"), ("GRN", "MRs")):
        candidate = path.with_name(path.name.replace(there, pattern))
        if candidate != path and candidate.is_file():
            return candidate
    raise BadNetworkError(
        f"{path}: its master regulator file is not beside it; name it with ?regulators=FILE in the target"
    )


def _numbers(path: Path) -> Iterator[tuple[int, list[float]]]:
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if text.strip():
            try:
                yield line, [float(x) for x in text.replace("\t", ",").strip(" ,").split(",")]
            except ValueError:
                raise BadNetworkError(
                    f"{path}, line {line}: numbers separated by commas are expected"
                ) from None


SignedEdge = tuple[int, str, str, str]
"""(line, regulator, target, sign as written)."""


def _tsv_edges(text: str, place: str) -> Iterator[SignedEdge]:
    for line, row in enumerate(text.splitlines(), 1):
        cells = row.split("\t")
        if row.strip() and not row.startswith("#"):
            if len(cells) < 2:
                raise BadNetworkError(f"{place}, line {line}: regulator, target and sign, separated by tabs")
            yield line, cells[0].strip(), cells[1].strip(), cells[2].strip() if len(cells) > 2 else ""


_DOT = re.compile(r'"([^"]+)"\s*->\s*"([^"]+)"\s*(?:\[(.*?)\])?')
_DOT_SIGN = re.compile(r'(?:value|sign|label)\s*=\s*"?([^",\]\s]+)')


def _dot_edges(text: str, _place: str) -> Iterator[SignedEdge]:
    for line, row in enumerate(text.splitlines(), 1):
        for match in _DOT.finditer(row):
            sign = _DOT_SIGN.search(match.group(3) or "")
            yield line, match.group(1), match.group(2), sign.group(1) if sign else ""


def network_of_edges(edges: Iterator[SignedEdge], place: str, signs: str | None) -> Network:
    """Additive network of a signed edge list; |K| 3, n 2, decay 0.8, masters' basal rate 0.5 (kinetics ours).

    Raises:
        UnsignedNetworkError: an edge is neither + nor -, unless `signs="random:SHARE_OF_PLUS"`.
        BadNetworkError: one pair is listed with both signs.
    """
    share = _random_share(signs)
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for line, regulator, target, sign_text in edges:
        sign = _SIGNS.get(sign_text.lower())
        if sign is None and share is None:
            raise UnsignedNetworkError(
                f"{place}, line {line}: edge {regulator} -> {target} has sign {sign_text!r}; "
                "write + or -, or ask for ?signs=random:0.56"
            )
        if sign is None:  # keyed by the pair, so the order of the file does not matter
            draw = derive_seed("sign", regulator, target) / 2**63
            sign = 1 if share is not None and draw < share else -1
        if found.get((regulator, target), (sign, 0))[0] != sign:
            raise BadNetworkError(
                f"{place}, line {line}: {regulator} -> {target} has the opposite sign on line {found[regulator, target][1]}"
            )
        found.setdefault((regulator, target), (sign, line))
    names = list(dict.fromkeys(n for pair in found for n in pair))
    by_target: dict[str, list[Edge]] = {n: [] for n in names}
    for (regulator, target), (sign, _) in found.items():
        by_target[target].append(Edge(regulator, sign * STRENGTH))
    network = Network(
        Path(place).stem,
        tuple(_structure_gene(n, by_target[n]) for n in names),
        source=place,
        kinetics="ours: decay 0.8, |K| 3, n 2, basal 0.5" + (f"; signs {signs}" if share is not None else ""),
    )
    return with_fixed_halves(network) if network.cyclic else network


def _structure_gene(name: str, edges: Sequence[Edge]) -> Gene:
    """Masters get a basal rate; so do genes that are only repressed by themselves or activated in a loop."""
    others = [e for e in edges if e.regulator != name]
    return Gene(name, decay=DECAY, basal=(0.0 if others else BASAL,), edges=tuple(edges))


def with_fixed_halves(network: Network) -> Network:
    """The network with h = K/(2 decay) = 1.875 wherever it is missing: cyclic structure files carry no h."""
    half = STRENGTH / DECAY / 2
    genes = tuple(
        replace(g, edges=tuple(e if e.half is not None else replace(e, half=half) for e in g.edges))
        for g in network.genes
    )
    return replace(network, genes=genes, kinetics=network.kinetics + "; h 1.875 (the file has cycles)")


def _random_share(signs: str | None) -> float | None:
    if signs is None:
        return None
    kind, _, share = signs.partition(":")
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if kind != "random" or not 0 <= value <= 1:
        raise UnsignedNetworkError(
            f"signs={signs!r}: write random:SHARE with the share of activators in [0, 1]"
        )
    return value


def read_bnet(text: str, place: str) -> Network:
    """Boolean rules, one `target, expression` a line (a header `targets, factors` and # comments are skipped)."""
    rules: dict[str, str] = {}
    for line, row in enumerate(text.splitlines(), 1):
        target, comma, rule = (part.strip() for part in row.partition(","))
        if not row.strip() or row.lstrip().startswith("#") or target == "targets":
            continue
        if not comma or not rule:
            raise BadNetworkError(f"{place}, line {line}: `target, expression` is expected")
        if target in rules:
            raise BadNetworkError(f"{place}, line {line}: target {target!r} is given twice")
        rules[target] = rule
    return network_of_rules(rules, name=Path(place).stem, source=place)
