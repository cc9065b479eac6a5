"""Kinetics of a network under many perturbations at once, flattened into rows.

One row is one gene in one condition. The baseline has a row for every gene; a condition has rows only for the
genes its perturbation can reach, all others *are* the baseline's rows. Every value of a row is computed by
elementwise operations in a fixed order, never by a matrix product: it does not depend on which other
conditions, cells or rows are computed beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agentkit_gene.simulation.network import Gene, Input, Module, Network
from agentkit_gene.simulation.perturbation import Effect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BoundInput = tuple[Input, int]
BoundModule = tuple[bool, tuple[BoundInput, ...]]
"""(complex?, inputs with the row each reads): two rows that read the same share one feature."""


@dataclass(frozen=True)
class Program:
    """Rows and everything their production needs. R rows, T cell types, F features.

    Rows are sorted by falling number of terms, so that the k-th term of all rows is one prefix.

    Attributes:
        condition, gene: (R,) which condition (0 is the baseline) and gene a row stands for.
        row_of: per condition, the row of every gene it has rows for.
        basal: (R, T) constant production, a repressor's |K| included.
        decay, translation, protein_decay: (R,).
        scale, added: (R,) production is `scale * P + added`.
        clamp: (R,) fixed level, NaN where free.
        knockdowns: per row, (efficacy, share) of guides whose factor is drawn per cell.
        signed: whether some weight is negative, so that rounding may leave a rate just below 0.
    """

    conditions: tuple[str, ...]
    n_genes: int
    condition: Ints
    gene: Ints
    row_of: tuple[Mapping[int, int], ...]
    basal: Floats
    decay: Floats
    translation: Floats
    protein_decay: Floats
    scale: Floats
    added: Floats
    clamp: Floats
    knockdowns: Mapping[int, tuple[tuple[float, float], ...]]
    features: FeatureTable
    slots: tuple[tuple[Ints, Floats], ...] = field(repr=False)
    signed: bool

    @property
    def n_rows(self) -> int:
        """R."""
        return len(self.gene)

    def baseline_rows(self) -> Ints:
        """Row of each gene of the baseline, in gene order."""
        return np.array([self.row_of[0][g] for g in range(self.n_genes)], dtype=np.int64)


@dataclass(frozen=True)
class FeatureTable:
    """Module activities and their products, as index tables.

    Feature ids: simple Hill terms, then general modules, then the constant 1, then products of those.

    Attributes:
        simple_row, simple_half, simple_hill, simple_uncut: (S,) sorted by hill.
        module_row, module_half, module_hill, module_uncut, module_role: (M, K) role 1 activates, -1 deactivates,
            0 pads.
        module_complex: (M,).
        products: (Q, J) ids of the factors, padded with the id of the constant.
    """

    simple_row: Ints
    simple_half: Floats
    simple_hill: Floats
    simple_uncut: Floats
    module_row: Ints
    module_half: Floats
    module_hill: Floats
    module_uncut: Floats
    module_role: Ints
    module_complex: NDArray[np.bool_]
    products: Ints


def build_program(
    network: Network,
    effects: Sequence[tuple[str, Effect]] = (),
    *,
    everything: bool = False,
    translation: bool = False,
    base: tuple[str, Effect] = ("baseline", Effect()),
) -> Program:
    """The rows of the baseline and of the named effects on a network whose every h is known.

    Args:
        network: resolved kinetics.
        effects: (condition name, effect) pairs.
        everything: give every condition a row for every gene, not only for those it can reach.
        translation: use the protein constants of the genes (the layer mrna+protein).
        base: the condition whose rows are all there and which the others share; the baseline unless said.
    """
    given = [base, *effects]
    rows = _rows(network, effects, everything)
    genes = [given[c][1].edited.get(network.names[g], network.genes[g]) for c, g in rows]
    terms = [_terms_of(gene) for gene in genes]
    order = sorted(range(len(rows)), key=lambda r: -len(terms[r][1]))
    row_of: list[dict[int, int]] = [{} for _ in range(len(effects) + 1)]
    for position, r in enumerate(order):
        row_of[rows[r][0]][rows[r][1]] = position
    table = _Features(row_of, network.index)
    bound = [[(table.product(modules, rows[r][0]), weight) for modules, weight in terms[r][1]] for r in order]
    features, ids = table.finish()
    ordered = [(rows[r], genes[r], terms[r]) for r in order]
    constants = np.array([np.add(gene.basal, constant) for _, gene, (constant, _) in ordered])
    site = [(given[c][1], network.names[g]) for (c, g), _, _ in ordered]
    return Program(
        conditions=tuple(name for name, _ in given),
        n_genes=len(network.genes),
        condition=np.array([c for (c, _), _, _ in ordered], dtype=np.int64),
        gene=np.array([g for (_, g), _, _ in ordered], dtype=np.int64),
        row_of=tuple(row_of),
        basal=constants,
        decay=np.array([gene.decay for _, gene, _ in ordered]),
        translation=np.array([gene.translation if translation else 1.0 for _, gene, _ in ordered]),
        protein_decay=np.array([gene.protein_decay or gene.decay for _, gene, _ in ordered]),
        scale=np.array([effect.scale.get(name, 1.0) for effect, name in site]),
        added=np.array([effect.added.get(name, 0.0) for effect, name in site]),
        clamp=np.array([effect.clamped.get(name, np.nan) for effect, name in site]),
        knockdowns={
            r: effect.knockdowns[name] for r, (effect, name) in enumerate(site) if name in effect.knockdowns
        },
        features=features,
        slots=_slots(bound, ids),
        signed=any(w < 0 for row in bound for _, w in row),
    )


def _rows(network: Network, effects: Sequence[tuple[str, Effect]], everything: bool) -> list[tuple[int, int]]:
    rows = [(0, g) for g in range(len(network.genes))]
    for c, (_, effect) in enumerate(effects, 1):
        reached = (
            range(len(network.genes))
            if everything
            else sorted(network.index[n] for n in network.descendants(effect.touched))
        )
        rows.extend((c, g) for g in reached)
    return rows


Term = tuple[tuple[Module, ...], float]


def _terms_of(gene: Gene) -> tuple[float, list[Term]]:
    """Production as a constant and weighted products of module activities (basal rate apart)."""
    constant = sum(-e.strength for e in gene.edges if e.strength < 0)
    terms: list[Term] = []
    for edge in gene.edges:
        if edge.uncut != 0:
            half = edge.half if edge.half is not None else float("nan")
            module = Module((Input(edge.regulator, half, edge.hill),))
            terms.append(((module,), edge.strength * edge.uncut))
    if gene.states is not None:
        for mask, weight in _multilinear(gene.states.alpha):
            chosen = tuple(m for j, m in enumerate(gene.states.modules) if mask >> j & 1)
            if chosen:
                terms.append((chosen, gene.states.maximum * weight))
            else:
                constant += gene.states.maximum * weight
    return constant, terms


def _multilinear(alpha: Sequence[float]) -> list[tuple[int, float]]:
    """Coefficients of `sum_s alpha_s prod u^s (1-u)^(1-s)` as a polynomial in the u (Moebius transform)."""
    c = np.array(alpha, dtype=np.float64)
    for j in range(int(np.log2(len(c)) + 0.5)):
        block = c.reshape(-1, 2, 1 << j)
        block[:, 1] -= block[:, 0]
    return [(mask, float(w)) for mask, w in enumerate(c) if w != 0]


class _Features:
    """Gives equal module activities one id, so that a Hill term used by many targets is computed once."""

    def __init__(self, row_of: Sequence[Mapping[int, int]], index: Mapping[str, int]) -> None:
        self._row_of, self._index = row_of, index
        self._single: dict[BoundModule, None] = {}
        self._products: dict[tuple[BoundModule, ...], None] = {}

    def product(self, modules: tuple[Module, ...], condition: int) -> tuple[BoundModule, ...]:
        """The key of a product of modules as read by `condition`."""
        key = tuple(self._bind(m, condition) for m in modules)
        self._single.update(dict.fromkeys(key))
        if len(key) > 1:
            self._products[key] = None
        return key

    def _bind(self, module: Module, condition: int) -> BoundModule:
        own, baseline = self._row_of[condition], self._row_of[0]
        inputs = []
        for item in module.inputs:
            g = self._index[item.regulator]
            inputs.append((item, own.get(g, baseline[g])))
        return module.complex, tuple(inputs)

    def finish(self) -> tuple[FeatureTable, dict[tuple[BoundModule, ...], int]]:
        """The tables, and the id of every key."""
        simple = sorted((m for m in self._single if _is_simple(m)), key=lambda m: m[1][0][0].hill)
        general = [m for m in self._single if not _is_simple(m)]
        ids: dict[tuple[BoundModule, ...], int] = {(m,): i for i, m in enumerate([*simple, *general])}
        one = len(ids)
        width = max((len(p) for p in self._products), default=1)
        products = np.full((len(self._products), width), one, dtype=np.int64)
        for i, key in enumerate(self._products):
            products[i, : len(key)] = [ids[m,] for m in key]
        ids.update({key: one + 1 + i for i, key in enumerate(self._products)})
        s, m = _simple_columns(simple), _module_columns(general)
        return FeatureTable(s[0], s[1], s[2], s[3], m[0], m[1], m[2], m[3], m[4], m[5], products), ids


def _is_simple(module: BoundModule) -> bool:
    is_complex, inputs = module
    return not is_complex and len(inputs) == 1 and inputs[0][0].activates


def _simple_columns(simple: Sequence[BoundModule]) -> tuple[Ints, Floats, Floats, Floats]:
    inputs = [m[1][0] for m in simple]
    return (
        np.array([row for _, row in inputs], dtype=np.int64),
        np.array([i.half for i, _ in inputs], dtype=np.float64),
        np.array([i.hill for i, _ in inputs], dtype=np.float64),
        np.array([i.uncut for i, _ in inputs], dtype=np.float64),
    )


def _module_columns(
    general: Sequence[BoundModule],
) -> tuple[Ints, Floats, Floats, Floats, Ints, NDArray[np.bool_]]:
    width = max((len(inputs) for _, inputs in general), default=1)
    row = np.zeros((len(general), width), dtype=np.int64)
    half, hill, uncut = np.ones(row.shape), np.ones(row.shape), np.ones(row.shape)
    role = np.zeros(row.shape, dtype=np.int64)
    for m, (_, inputs) in enumerate(general):
        for k, (item, position) in enumerate(inputs):
            row[m, k], half[m, k], hill[m, k], uncut[m, k] = position, item.half, item.hill, item.uncut
            role[m, k] = 1 if item.activates else -1
    return row, half, hill, uncut, role, np.array([c for c, _ in general], dtype=bool)


def _slots(
    bound: Sequence[Sequence[tuple[tuple[BoundModule, ...], float]]],
    ids: Mapping[tuple[BoundModule, ...], int],
) -> tuple[tuple[Ints, Floats], ...]:
    """For k = 0, 1, …: feature id and weight of the k-th term of the first rows (all that have one)."""
    slots = []
    for k in range(max((len(row) for row in bound), default=0)):
        having = [row[k] for row in bound if len(row) > k]
        slots.append(
            (np.array([ids[key] for key, _ in having], dtype=np.int64), np.array([w for _, w in having]))
        )
    return tuple(slots)
