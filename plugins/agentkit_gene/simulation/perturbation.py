"""Perturbation strings: `KO:A`, `KD:A@0.7`, `OE:A@3`, `OE:A@+5`, `CLAMP:A@2`, `CUT:A>B`, `DRUG:A>B@K*0.5`, joined by `+`.

A string has one canonical spelling (parts sorted, values as short as they go), so `A+B` and `B+A` are one
condition. What it does to a network is an `Effect`, on kinetics that are never derived anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from agentkit import BASELINE
from agentkit_gene.simulation.errors import BadPerturbationError, UnknownEdgeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agentkit_gene.simulation.network import Gene, Module, Network

CONTROL_NAMES = {"", BASELINE, "ctrl", "control", "non-targeting"}
KINDS = ("KO", "KD", "OE", "CLAMP", "CUT", "DRUG")
_PART = re.compile(r"(?P<kind>[A-Z]+):(?P<site>[^@]+)(?:@(?P<value>.+))?")
_EXAMPLES = "KO:A, KD:A@0.7, OE:A@3, OE:A@+5, CLAMP:A@2, CUT:A>B@0.5, DRUG:A>B@K*0.5"


@dataclass(frozen=True, order=True)
class Part:
    """One perturbation of one gene or edge.

    Args:
        gene: the gene, or the regulator of an edge.
        target: the regulated gene of an edge, else "".
        kind: one of `KINDS`.
        value: KO and KD efficacy, OE fold or constant, CLAMP level, CUT fraction, DRUG factor.
        constant: OE adds `value` instead of multiplying by it.
        constant_of: which constant a DRUG multiplies, "K" or "h".
        share: KD: share of cells in which the guide works.
    """

    gene: str
    target: str
    kind: str
    value: float
    constant: bool = False
    constant_of: str = ""
    share: float = 1.0

    @property
    def idle(self) -> bool:
        """Whether this part has strength zero and so does nothing."""
        one = self.kind == "DRUG" or (self.kind == "OE" and not self.constant)
        return self.kind != "CLAMP" and self.value == (1 if one else 0)

    def __str__(self) -> str:
        site = f"{self.gene}>{self.target}" if self.target else self.gene
        value = f"{self.value:.12g}"
        if self.kind == "DRUG":
            value = f"{self.constant_of}*{value}"
        elif self.kind == "OE" and self.constant:
            value = f"+{value}"
        elif self.kind == "KD" and self.share != 1:
            value = f"{value}~{self.share:.12g}"
        default = self.kind in ("KO", "CUT") and self.value == 1
        return f"{self.kind}:{site}" + ("" if default else f"@{value}")


@dataclass(frozen=True)
class Perturbation:
    """Parts in canonical order; no part is the baseline."""

    parts: tuple[Part, ...] = ()

    @property
    def name(self) -> str:
        """The one spelling of this condition."""
        return "+".join(map(str, self.parts)) or BASELINE

    @property
    def genes(self) -> tuple[str, ...]:
        """Genes whose production is touched: the gene itself, or an edge's target."""
        return tuple(dict.fromkeys(p.target or p.gene for p in self.parts))

    @property
    def touched(self) -> frozenset[str]:
        """Genes whose equation this perturbation changes, parts of strength zero left out."""
        return frozenset(p.target or p.gene for p in self.parts if not p.idle)

    def __add__(self, other: Perturbation) -> Perturbation:
        return Perturbation(tuple(sorted((*self.parts, *other.parts))))


def parse_perturbation(text: str) -> Perturbation:
    """The perturbation a string means; a bare gene name is a knock-out, `ctrl` and its kin are the baseline.

    Raises:
        BadPerturbationError: the text cannot be read or a value is out of range; the range is named.
    """
    if text.strip() in CONTROL_NAMES:
        return Perturbation()
    pieces = [p.strip() for p in re.split(r"(?<!@)\+", text)]  # the + of OE:A@+5 does not join
    parts = [_part(p, text) for p in pieces if p not in CONTROL_NAMES]
    return Perturbation(tuple(sorted(parts)))


def _part(piece: str, text: str) -> Part:
    match = _PART.fullmatch(piece)
    if match is None and ":" not in piece and "@" not in piece and ">" not in piece:
        return Part(piece, "", "KO", 1.0)
    if match is None or match["kind"] not in KINDS:
        raise BadPerturbationError(
            f"perturbation {text!r}: cannot read {piece!r}; write for example {_EXAMPLES}"
        )
    kind, value = match["kind"], match["value"]
    gene, arrow, target = (s.strip() for s in match["site"].partition(">"))
    if bool(arrow) != (kind in ("CUT", "DRUG")) or not gene or (arrow and not target):
        raise BadPerturbationError(
            f"perturbation {text!r}: {kind} acts on {_SITE[kind]}, got {match['site']!r}"
        )
    return _WITH_VALUE[kind](Part(gene, target, kind, 1.0), value, text)


_SITE = {**dict.fromkeys(KINDS, "a gene (NAME)"), **dict.fromkeys(("CUT", "DRUG"), "an edge (A>B)")}


def _efficacy(part: Part, value: str | None, text: str) -> Part:
    return replace(part, value=_number(value or "1", 0, 1, part, text))


def _knockdown(part: Part, value: str | None, text: str) -> Part:
    if value is None:
        raise BadPerturbationError(
            f"perturbation {text!r}: KD needs an efficacy in [0, 1], for example KD:{part.gene}@0.7"
        )
    efficacy, tilde, share = value.partition("~")
    working = _number(share, 0, 1, part, text) if tilde else 1.0
    if working == 0:
        raise BadPerturbationError(f"perturbation {text!r}: the share of cells after ~ must be above 0")
    return replace(part, value=_number(efficacy, 0, 1, part, text), share=working)


def _overexpression(part: Part, value: str | None, text: str) -> Part:
    if value is None:
        raise BadPerturbationError(
            f"perturbation {text!r}: OE needs a fold, OE:{part.gene}@3, or a rate, OE:{part.gene}@+5"
        )
    if value.startswith("+"):
        return replace(part, value=_number(value[1:], 0, 1e6, part, text), constant=True)
    return replace(part, value=_number(value, 1, 100, part, text))


def _clamp(part: Part, value: str | None, text: str) -> Part:
    if value is None:
        raise BadPerturbationError(
            f"perturbation {text!r}: CLAMP needs a level, for example CLAMP:{part.gene}@2"
        )
    return replace(part, value=_number(value, 0, 1e6, part, text))


def _drug(part: Part, value: str | None, text: str) -> Part:
    constant, star, factor = (value or "").partition("*")
    if not star or constant not in ("K", "h"):
        raise BadPerturbationError(
            f"perturbation {text!r}: DRUG multiplies K or h, for example DRUG:{part.gene}>{part.target}@K*0.5"
        )
    number = _number(factor, 0, 1000, part, text)
    if number == 0:
        raise BadPerturbationError(f"perturbation {text!r}: a factor must be above 0 (CUT removes an edge)")
    return replace(part, value=number, constant_of=constant)


_WITH_VALUE = {
    "KO": _efficacy,
    "KD": _knockdown,
    "OE": _overexpression,
    "CLAMP": _clamp,
    "CUT": _efficacy,
    "DRUG": _drug,
}


def _number(value: str, low: float, high: float, part: Part, text: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise BadPerturbationError(f"perturbation {text!r}: {value!r} is no number") from None
    if not low <= number <= high:
        raise BadPerturbationError(
            f"perturbation {text!r}: {part.kind} takes a value in [{low:g}, {high:g}], got {value}"
        )
    return number


@dataclass(frozen=True)
class Effect:
    """What a perturbation does to frozen kinetics; empty fields do nothing.

    Args:
        scale: factor on a gene's production, per gene.
        knockdowns: per gene (efficacy, share of cells); the factor is drawn per cell.
        added: constant production, per gene.
        clamped: fixed level, per gene.
        edited: genes whose own kinetics changed (CUT, DRUG).
    """

    scale: Mapping[str, float] = field(default_factory=dict)
    knockdowns: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    added: Mapping[str, float] = field(default_factory=dict)
    clamped: Mapping[str, float] = field(default_factory=dict)
    edited: Mapping[str, Gene] = field(default_factory=dict)

    @property
    def touched(self) -> frozenset[str]:
        """Genes whose own equation differs from the wild type's."""
        return frozenset().union(self.scale, self.knockdowns, self.added, self.clamped, self.edited)


def effect_of(perturbation: Perturbation, network: Network) -> Effect:
    """The effect on `network`; parts of strength zero leave no trace, so they equal the baseline bit for bit.

    Raises:
        UnknownGeneError, UnknownEdgeError: a site the network does not have.
        BadPerturbationError: a gene clamped to two levels, or K of a rule.
    """
    scale: dict[str, float] = {}
    knockdowns: dict[str, tuple[tuple[float, float], ...]] = {}
    added: dict[str, float] = {}
    clamped: dict[str, float] = {}
    edited: dict[str, Gene] = {}
    for part in perturbation.parts:
        gene = network.gene(part.gene)
        if part.kind == "KO" or (part.kind == "KD" and part.value in (0, 1) and part.share == 1):
            scale[gene.name] = scale.get(gene.name, 1.0) * (1 - part.value)
        elif part.kind == "KD" and part.value > 0:
            knockdowns[gene.name] = (*knockdowns.get(gene.name, ()), (part.value, part.share))
        elif part.kind == "OE" and part.constant:
            added[gene.name] = added.get(gene.name, 0.0) + part.value
        elif part.kind == "OE":
            scale[gene.name] = scale.get(gene.name, 1.0) * part.value
        elif part.kind == "CLAMP":
            if clamped.setdefault(gene.name, part.value) != part.value:
                raise BadPerturbationError(
                    f"perturbation {perturbation.name!r} clamps {gene.name!r} to two levels"
                )
        elif part.kind in ("CUT", "DRUG"):
            target = _target_of_edge(part, network)
            edited[target.name] = _edit(edited.get(target.name, target), part)
    return Effect(
        {g: s for g, s in scale.items() if s != 1},
        knockdowns,
        {g: a for g, a in added.items() if a != 0},
        clamped,
        {n: g for n, g in edited.items() if g != network.gene(n)},
    )


def _target_of_edge(part: Part, network: Network) -> Gene:
    target = network.gene(part.target)
    if part.gene not in target.regulators():
        listed = ", ".join(network.targets[part.gene][:12]) or "nothing"
        raise UnknownEdgeError(
            f"network {network.name!r} has no edge {part.gene}>{part.target}; {part.gene} regulates {listed}"
        )
    return target


def _edit(gene: Gene, part: Part) -> Gene:
    """The gene with one of its incoming edges weakened or its constant multiplied."""
    if gene.states is not None and part.gene in {i.regulator for m in gene.states.modules for i in m.inputs}:
        if part.constant_of == "K":
            raise BadPerturbationError(
                f"{part}: {gene.name!r} follows a rule, whose inputs have no K; use h*{part.value:g}"
            )
        modules = tuple(_edit_module(m, part) for m in gene.states.modules)
        return replace(gene, states=replace(gene.states, modules=modules))
    edges = []
    for edge in gene.edges:
        if edge.regulator != part.gene:
            edges.append(edge)
        elif part.kind == "CUT":
            edges.append(replace(edge, uncut=edge.uncut * (1 - part.value)))
        elif part.constant_of == "K":
            edges.append(replace(edge, strength=edge.strength * part.value))
        else:
            edges.append(replace(edge, half=_times(edge.half, part)))
    return replace(gene, edges=tuple(edges))


def _edit_module(module: Module, part: Part) -> Module:
    inputs = []
    for item in module.inputs:
        if item.regulator != part.gene:
            inputs.append(item)
        elif part.kind == "CUT":
            inputs.append(replace(item, uncut=item.uncut * (1 - part.value)))
        else:
            inputs.append(replace(item, half=item.half * part.value))
    return replace(module, inputs=tuple(inputs))


def _times(half: float | None, part: Part) -> float:
    if half is None:
        raise BadPerturbationError(f"{part}: the edge's h is not derived yet; resolve the network first")
    return half * part.value


def parse_all(texts: Iterable[str]) -> tuple[Perturbation, ...]:
    """Distinct perturbations of a list, without the baseline, in the order given."""
    found = dict.fromkeys(parse_perturbation(t) for t in texts)
    return tuple(p for p in found if p.parts)
