"""What is known about the genes of one library: features, gene sets, a graph, names. Built once, kept by content.

Recipe of the blocks (all float32 in the end, side by side):
    gene sets   column weight ln(N / (1 + df)), rows to length 1, truncated SVD, rows to length 1
    graph       A symmetric with weights by relation, D^-1/2 A D^-1/2, truncated SVD, rows to length 1
    numbers     log2(x + 1) unless already logged, z-score a column, over the square root of the number of columns
    scalars     degree, number of sets, essentiality, papers, expression: z-scores over the square root likewise
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy import sparse

from agentkit_gene.loop.errors import BadFeatureError
from agentkit_gene.loop.sources import Edges, GeneSets, GeneTable, Source, SymbolTable, content_hash
from agentkit_gene.loop.svd import left_factors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agentkit_gene.loop.screen import Library

    Floats = NDArray[np.float64]
    Rows = dict[str, list[int]]

S = TypeVar("S", GeneSets, GeneTable)

RECIPE = "1"
SMALLEST_SET, LARGEST_SET = 3, 500
"""Below 3 genes a set joins nobody; above 500 its name says little about a member."""
LARGEST_LOOSE_SET = 5000
LOOSE_BLOCKS = {"coexp": 64, "tf": 48}
"""Blocks of computed sets: wide, loose, features only (their names say nothing about a task)."""
SET_WIDTHS = {"go": 128, "path": 128, "mgi": 64}
OTHER_SET_WIDTH = 64
GRAPH_WIDTH = 128
RELATION_WEIGHTS = {
    "in-complex-with": 1.0,
    "interacts-with": 1.0,
    "controls-state-change-of": 1.0,
    "controls-phosphorylation-of": 1.0,
    "controls-transport-of": 0.5,
    "controls-expression-of": 0.3,
    "catalysis-precedes": 0.3,
}
OTHER_RELATION = 0.3
LARGEST_EDGE = 2.0
LOWEST_COVERAGE = 0.20


@dataclass(frozen=True)
class Block:
    """Columns `start:stop` of the features, where they came from, and the share of the library they reach."""

    name: str
    start: int
    stop: int
    origins: tuple[str, ...]
    sha256: str
    coverage: float


@dataclass(frozen=True)
class Knowledge:
    """Prior knowledge about the genes of one library; rows follow `genes`.

    Args:
        genes: the library's single genes, sorted.
        x: (genes, width) float32 features.
        blocks: what the columns are.
        membership: (genes, sets) 0/1 of the named sets (3 to 500 members), all blocks side by side.
        set_names: names of the sets; set_blocks: the block of each.
        adjacency: (genes, genes) symmetric weights of the graph.
        papers: number of publications, -1 where unknown.
        expression: mean expression, 0 where unknown.
        full_names: the gene's name in words, empty where unknown.
        other_names: upper-cased aliases and previous symbols, each with the library symbols it may mean.
        sha256: hash of library, sources and recipe: what features are kept under.
    """

    genes: tuple[str, ...]
    x: NDArray[np.float32]
    blocks: tuple[Block, ...]
    membership: sparse.csr_matrix
    set_names: tuple[str, ...]
    set_blocks: tuple[str, ...]
    adjacency: sparse.csr_matrix
    papers: Floats
    expression: Floats
    full_names: tuple[str, ...]
    other_names: Mapping[str, Sequence[str]]
    sha256: str
    notes: tuple[str, ...] = field(default=())

    @property
    def coverage(self) -> float:
        """Share of the genes with any set, edge or expression."""
        return float(self.covered.mean())

    @cached_property
    def covered(self) -> NDArray[np.bool_]:
        """(genes,) whether anything is known of a gene."""
        return np.asarray((self.set_counts > 0) | (self.degree > 0) | (self.expression > 0))

    @cached_property
    def degree(self) -> Floats:
        """(genes,) summed weights of the gene's edges."""
        return np.asarray(self.adjacency.sum(axis=1)).ravel()

    @cached_property
    def set_counts(self) -> Floats:
        """(genes,) how many named sets hold the gene."""
        return np.asarray(self.membership.sum(axis=1)).ravel()

    @cached_property
    def set_sizes(self) -> Floats:
        """(sets,) how many library genes each set holds."""
        return np.asarray(self.membership.sum(axis=0)).ravel()

    @cached_property
    def transposed(self) -> sparse.csr_matrix:
        """(sets, genes): the membership by set."""
        return self.membership.T.tocsr()

    @cached_property
    def propagator(self) -> sparse.csr_matrix:
        """P = D^-1/2 A D^-1/2, degrees at least 1."""
        return normalised(self.adjacency)

    def sets_of(self, block: str) -> Floats:
        """(genes,) how many sets of one block hold the gene."""
        columns = np.flatnonzero(np.array(self.set_blocks) == block)
        return np.asarray(self.membership[:, columns].sum(axis=1)).ravel()

    def without(self, blocks: Sequence[str]) -> Knowledge:
        """The same knowledge with the feature columns of some blocks left out (sets and graph stay)."""
        keep = [b for b in self.blocks if b.name not in blocks]
        columns = np.concatenate([np.arange(b.start, b.stop) for b in keep])
        moved, start = [], 0
        for b in keep:
            moved.append(Block(b.name, start, start + b.stop - b.start, b.origins, b.sha256, b.coverage))
            start = moved[-1].stop
        values = {f: getattr(self, f) for f in self.__dataclass_fields__}
        return Knowledge(**{**values, "x": np.ascontiguousarray(self.x[:, columns]), "blocks": tuple(moved)})


class Symbols:
    """Maps symbols as sources write them to rows of the library.

    Approved symbol, else the first match among previous symbols and aliases in table order; upper-cased. Two library
    symbols of one approved gene share what is known.
    """

    def __init__(self, genes: Sequence[str], tables: Sequence[SymbolTable]) -> None:
        self._canon: dict[str, str] = {}
        for table in tables:
            for symbol in table.symbols:
                self._canon.setdefault(symbol.upper(), symbol.upper())
        for table in tables:
            for symbol, others in zip(table.symbols, table.other, strict=True):
                for name in others:
                    self._canon.setdefault(name.upper(), symbol.upper())
        self._identifiers = {
            i.upper(): s.upper() for t in tables for i, s in zip(t.identifiers, t.symbols, strict=True) if i
        }
        self.rows: Rows = defaultdict(list)
        for row, gene in enumerate(genes):
            self.rows[self.canon(gene)].append(row)

    def canon(self, name: str) -> str:
        """The approved symbol in upper case, or the name itself when no table knows it."""
        upper = name.strip().upper()
        return self._canon.get(upper) or self._identifiers.get(upper.partition(".")[0]) or upper

    def of(self, name: str) -> list[int]:
        """Rows of a symbol; none when the library has no such gene."""
        return self.rows.get(self.canon(name), [])

    def twins(self) -> list[list[int]]:
        """Rows that are symbols of one approved gene, gene by gene."""
        return [rows for rows in self.rows.values() if len(rows) > 1]


def build_knowledge(
    library: Library, sources: Sequence[Source], *, allow_low_coverage: bool = False
) -> Knowledge:
    """Features, sets and graph of a library's genes.

    Raises:
        BadFeatureError: when under 20 % of the genes are found, with coverage by block and a hint.
    """
    genes = library.genes
    tables = [s for s in sources if isinstance(s, SymbolTable)]
    symbols = Symbols(genes, tables)
    made = _Blocks(library, symbols)
    named = _by_block([s for s in sources if isinstance(s, GeneSets)])
    parts = [_membership(symbols, len(genes), block, found) for block, found in sorted(named.items())]
    membership, names, set_blocks = _stack(parts, len(genes))
    for part in parts:
        made.add_sets(part)
    graphs = [s for s in sources if isinstance(s, Edges)]
    adjacency = _adjacency(symbols, len(genes), graphs)
    if adjacency.nnz:
        made.add("ppi", unit_rows(left_factors(normalised(adjacency), GRAPH_WIDTH)), graphs)
    numbers = _by_block([s for s in sources if isinstance(s, GeneTable)])
    expression = np.zeros(len(genes))
    expressed = None
    for block, found in sorted(numbers.items()):
        raw, known = _aligned(symbols, len(genes), found)
        logged = _logged(raw) if block == "expr" else raw
        made.add(block, np.where(known[:, None], zscores(logged), 0.0) / np.sqrt(raw.shape[1]), found, known)
        if block == "expr":
            expressed = (logged, known)
            expression = np.where(known, logged.mean(axis=1), 0.0)
    papers = _papers(symbols, len(genes), tables)
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    counts = {b: np.asarray(m.sum(axis=1)).ravel() for b, m, *_ in parts if b in SET_WIDTHS}
    made.add_scalars(degree, counts, papers, expressed)
    made.notes += [
        f"{' and '.join(genes[r] for r in rows)} are symbols of one approved gene; both stay and share features"
        for rows in symbols.twins()
    ]
    knowledge = Knowledge(
        genes,
        made.matrix(),
        tuple(made.blocks),
        membership,
        names,
        set_blocks,
        adjacency,
        papers,
        expression,
        _full_names(symbols, len(genes), tables),
        _other_names(genes, symbols, tables),
        knowledge_hash(library, sources),
        tuple(made.notes),
    )
    if knowledge.coverage < LOWEST_COVERAGE and not allow_low_coverage:
        raise BadFeatureError(_low_coverage(library, knowledge))
    if _looks_foreign(genes) and not allow_low_coverage:
        raise BadFeatureError(
            f"library {library.name}: symbols like {_foreign_example(genes)} look like another species than the features "
            "(human symbols are upper case); map them to human orthologues, bring features of that species, or say "
            "allow_low_coverage=True to match by spelling"
        )
    return knowledge


def knowledge_hash(library: Library, sources: Sequence[Source]) -> str:
    """SHA-256 of genes, essential genes, sources and recipe."""
    parts = [RECIPE, *library.genes, "|", *sorted(library.essential or ()), "|"]
    parts += sorted(f"{s.block}:{content_hash(s)}" for s in sources)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def normalised(adjacency: sparse.csr_matrix) -> sparse.csr_matrix:
    """D^-1/2 A D^-1/2 with degrees of at least 1."""
    scale = 1 / np.sqrt(np.maximum(np.asarray(adjacency.sum(axis=1)).ravel(), 1.0))
    return sparse.csr_matrix(sparse.diags(scale) @ adjacency @ sparse.diags(scale))


def unit_rows(values: Floats) -> Floats:
    """Rows scaled to length 1; zero rows stay zero."""
    length = np.sqrt((values**2).sum(axis=1, keepdims=True))
    return np.asarray(values / np.where(length > 0, length, 1.0))


def zscores(values: Floats) -> Floats:
    """Columns to mean 0 and standard deviation 1; constant columns to 0."""
    sd = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(sd > 0, sd, 1.0))


Part = tuple[str, sparse.csr_matrix, list[str], Sequence[GeneSets]]


class _Blocks:
    """Collects feature blocks."""

    def __init__(self, library: Library, symbols: Symbols) -> None:
        self.library, self.symbols = library, symbols
        self.blocks: list[Block] = []
        self.notes: list[str] = []
        self._values: list[Floats] = []

    def add(
        self, name: str, values: Floats, sources: Sequence[Source], known: NDArray[np.bool_] | None = None
    ) -> None:
        reached = np.abs(values).sum(axis=1) > 0 if known is None else known
        start = self.blocks[-1].stop if self.blocks else 0
        digest = hashlib.sha256("".join(sorted(content_hash(s) for s in sources)).encode()).hexdigest()
        origins = tuple(s.origin for s in sources)
        self.blocks.append(
            Block(name, start, start + values.shape[1], origins, digest, float(reached.mean()))
        )
        self._values.append(values)

    def add_sets(self, part: Part) -> None:
        block, matrix, _, sources = part
        if not matrix.shape[1]:
            self.notes.append(f"block {block}: no set has {SMALLEST_SET} genes of the library; left out")
            return
        df = np.asarray(matrix.sum(axis=0)).ravel()
        weighted = matrix @ sparse.diags(np.log(matrix.shape[0] / (1 + df)))
        length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        rows = sparse.csr_matrix(sparse.diags(1 / np.where(length > 0, length, 1.0)) @ weighted)
        width = {**SET_WIDTHS, **LOOSE_BLOCKS}.get(block, OTHER_SET_WIDTH)
        self.add(block, unit_rows(left_factors(rows, width)), sources)

    def add_scalars(
        self,
        degree: Floats,
        counts: Mapping[str, Floats],
        papers: Floats,
        expressed: tuple[Floats, NDArray[np.bool_]] | None,
    ) -> None:
        columns = [np.log1p(degree), *(np.log1p(counts[b]) for b in sorted(counts))]
        if self.library.essential is not None:
            columns.append(
                np.array([g in self.library.essential for g in self.library.genes], dtype=np.float64)
            )
        if (papers >= 0).any():
            columns.append(np.log1p(np.maximum(papers, 0)))
        if expressed is not None:
            values, known = expressed
            columns += [values.mean(axis=1), values.max(axis=1) - values.mean(axis=1), ~known * 1.0]
        self.add("scalars", zscores(np.stack(columns, axis=1)) / np.sqrt(len(columns)), [])

    def matrix(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(np.concatenate(self._values, axis=1), dtype=np.float32)


def _by_block(sources: Sequence[S]) -> dict[str, list[S]]:
    found: dict[str, list[S]] = defaultdict(list)
    for source in sources:
        found[source.block].append(source)
    return found


def _membership(symbols: Symbols, n: int, block: str, sources: Sequence[GeneSets]) -> Part:
    """(genes, sets) of the sets whose size in the library is right, sorted by name."""
    largest = LARGEST_LOOSE_SET if block in LOOSE_BLOCKS else LARGEST_SET
    kept: list[tuple[str, list[int]]] = []
    for source in sources:
        for name, members in source.sets.items():
            rows = sorted({r for m in members for r in symbols.of(m)})
            if SMALLEST_SET <= len(rows) <= largest:
                kept.append((name, rows))
    kept.sort()
    indices = np.concatenate([np.zeros(0, dtype=np.int64), *(np.array(r) for _, r in kept)])
    starts = np.cumsum([0, *(len(r) for _, r in kept)])
    matrix = sparse.csc_matrix((np.ones(len(indices)), indices, starts), shape=(n, len(kept)))
    return block, sparse.csr_matrix(matrix), [name for name, _ in kept], sources


def _stack(parts: Sequence[Part], n: int) -> tuple[sparse.csr_matrix, tuple[str, ...], tuple[str, ...]]:
    """All named sets side by side; computed sets (co-expression, TF targets) stay out."""
    named = [p for p in parts if p[0] not in LOOSE_BLOCKS]
    matrix = sparse.hstack([sparse.csr_matrix((n, 0)), *(p[1] for p in named)], format="csr")
    names = tuple(name for p in named for name in p[2])
    return matrix, names, tuple(p[0] for p in named for _ in p[2])


def _adjacency(symbols: Symbols, n: int, graphs: Sequence[Edges]) -> sparse.csr_matrix:
    """Symmetric; parallel relations of two genes add up, at most `LARGEST_EDGE`; no loops."""
    weights: dict[tuple[int, int], float] = defaultdict(float)
    for a, relation, b in sorted({e for g in graphs for e in g.edges}):
        w = RELATION_WEIGHTS.get(relation, OTHER_RELATION)
        for i in symbols.of(a):
            for j in symbols.of(b):
                if i != j:
                    weights[min(i, j), max(i, j)] += w
    pairs = np.array(sorted(weights), dtype=np.int64).reshape(-1, 2)
    values = np.minimum([weights[i, j] for i, j in pairs.tolist()], LARGEST_EDGE)
    half = sparse.coo_matrix((values, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return sparse.csr_matrix(half + half.T)


def _aligned(symbols: Symbols, n: int, tables: Sequence[GeneTable]) -> tuple[Floats, NDArray[np.bool_]]:
    """(genes, columns) of all tables side by side; a gene named twice keeps its first row."""
    columns, known = [], np.zeros(n, dtype=bool)
    for table in tables:
        values = np.zeros((n, len(table.columns)))
        seen = np.zeros(n, dtype=bool)
        for i in sorted(range(len(table.genes)), key=lambda k: table.genes[k]):
            for row in symbols.of(table.genes[i]):
                if not seen[row]:
                    values[row], seen[row] = table.values[i], True
        columns.append(values)
        known |= seen
    return np.concatenate(columns, axis=1), known


def _logged(values: Floats) -> Floats:
    """log2(x + 1) of raw levels; values that never exceed 30 are taken to be logs already (2^30 is no level)."""
    return values if values.max(initial=0.0) <= 30 else np.log2(np.maximum(values, 0) + 1)


def _papers(symbols: Symbols, n: int, tables: Sequence[SymbolTable]) -> Floats:
    out = np.full(n, -1.0)
    for table in tables:
        for symbol, count in zip(table.symbols, table.papers, strict=True):
            for row in symbols.of(symbol):
                out[row] = max(out[row], count)
    return out


def _full_names(symbols: Symbols, n: int, tables: Sequence[SymbolTable]) -> tuple[str, ...]:
    out = [""] * n
    for table in tables:
        for symbol, name in zip(table.symbols, table.names, strict=True):
            for row in symbols.of(symbol):
                out[row] = out[row] or name
    return tuple(out)


def _other_names(
    genes: Sequence[str], symbols: Symbols, tables: Sequence[SymbolTable]
) -> dict[str, tuple[str, ...]]:
    """Aliases and previous symbols (and the approved symbol, where the library uses an older one)."""
    found: dict[str, set[str]] = defaultdict(set)
    for table in tables:
        for symbol, others in zip(table.symbols, table.other, strict=True):
            meant = [genes[r] for r in symbols.rows.get(symbol.upper(), [])]
            for name in (symbol, *others) if meant else ():
                found[name.upper()].update(meant)
    return {name: tuple(sorted(meant)) for name, meant in found.items()}


def _looks_foreign(genes: Sequence[str]) -> bool:
    """Whether most symbols are written like mouse genes: one capital, then lower case."""
    return sum(bool(re.fullmatch(r"[A-Z][a-z]+[0-9a-z]*", g)) for g in genes) > len(genes) / 2


def _foreign_example(genes: Sequence[str]) -> str:
    return next(g for g in genes if re.fullmatch(r"[A-Z][a-z]+[0-9a-z]*", g))


def _low_coverage(library: Library, knowledge: Knowledge) -> str:
    blocks = (
        ", ".join(f"{b.name} {b.coverage:.0%}" for b in knowledge.blocks if b.name != "scalars") or "none"
    )
    return (
        f"library {library.name}: only {knowledge.coverage:.0%} of {len(library.genes)} genes are found in the features "
        f"({blocks}); are they {', '.join(library.genes[:3])} of another organism, or identifiers instead of symbols? "
        "allow_low_coverage=True goes on all the same"
    )
