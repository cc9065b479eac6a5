"""Prior knowledge as it comes: gene sets, edges, measured tables, a table of symbols. Read, never unpickled.

A source is a value, so simulated knowledge and files go the same way. `read_source` tells the kind by the content
and the block by the name.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agentkit_gene.loop.errors import BadFeatureError
from agentkit_gene.loop.tables import read_bytes, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

BLOCK_PATTERNS = (
    ("ppi", r"pathwaycommons|pathway_?commons|biogrid|string|\.sif"),
    ("go", r"^go[_-]|gobp|gene_ontology"),
    ("path", r"wiki|kegg|reactome|corum|complex|pathway|biocarta"),
    ("mgi", r"mgi|phenotype"),
    ("coexp", r"coexp|archs4"),
    ("tf", r"chea|trrust|tf_?targets|encode_tf"),
    ("expr", r"gtex|expression|tissue"),
)
"""Blocks of well-known resources by file name; any other file is a block of its own, named after its stem."""

FEATURE_SUFFIXES = (".gz", ".gmt", ".sif", ".csv", ".tsv", ".txt")
REFUSED_SUFFIXES = (".pkl", ".pickle", ".joblib", ".npy", ".p")


@dataclass(frozen=True)
class GeneSets:
    """Named sets of gene symbols; `block` says which features they make."""

    block: str
    sets: Mapping[str, Sequence[str]]
    origin: str = "given"
    sha256: str = ""


@dataclass(frozen=True)
class Edges:
    """Gene-gene relations: (a, relation, b)."""

    block: str
    edges: Sequence[tuple[str, str, str]]
    origin: str = "given"
    sha256: str = ""


@dataclass(frozen=True)
class GeneTable:
    """Numbers by gene: (genes, columns); missing genes are simply absent."""

    block: str
    genes: Sequence[str]
    columns: Sequence[str]
    values: NDArray[np.float64]
    origin: str = "given"
    sha256: str = ""


@dataclass(frozen=True)
class SymbolTable:
    """Approved symbols with what else they are called (as the HGNC publishes them).

    Args:
        names: full names; papers: number of publications, or -1.
        other: previous symbols first, then aliases, by approved symbol.
        identifiers: other identifiers (Ensembl) by approved symbol.
    """

    symbols: Sequence[str]
    names: Sequence[str]
    other: Sequence[Sequence[str]]
    identifiers: Sequence[str]
    papers: Sequence[float]
    origin: str = "given"
    sha256: str = ""
    block: str = field(default="symbols", init=False)


Source = GeneSets | Edges | GeneTable | SymbolTable


def content_hash(source: Source) -> str:
    """SHA-256 of a source: of its file, or of its values when it came from none."""
    if source.sha256:
        return source.sha256
    digest = hashlib.sha256(type(source).__name__.encode())
    if isinstance(source, GeneSets):
        digest.update(repr(sorted((k, sorted(v)) for k, v in source.sets.items())).encode())
    elif isinstance(source, Edges):
        digest.update(repr(sorted(source.edges)).encode())
    elif isinstance(source, GeneTable):
        order = np.argsort(np.array(source.genes))
        digest.update(repr([source.genes[i] for i in order]).encode())
        digest.update(repr(list(source.columns)).encode() + source.values[order].tobytes())
    else:
        rows = zip(source.symbols, source.names, source.other, source.identifiers, source.papers, strict=True)
        digest.update(repr(sorted((s, n, tuple(o), i, p) for s, n, o, i, p in rows)).encode())
    return digest.hexdigest()


def read_source(path: Path, block: str | None = None) -> Source:
    """The source in a file.

    Args:
        path: .gmt[.gz], .sif[.gz], .csv[.gz] (long set,gene; complexes Name,Genes; numbers by gene; a symbol table).
        block: which features it makes; by default told from the file's name.

    Raises:
        BadFeatureError: when it is none of these, naming the file and the first bad line.
    """
    if path.suffix.lower() in REFUSED_SUFFIXES:
        raise BadFeatureError(
            f"{path}: {path.suffix} files can run code when opened and are never read; export .gmt or .csv"
        )
    text = read_text(path, BadFeatureError)
    digest = hashlib.sha256(read_bytes(path, BadFeatureError)).hexdigest()
    if "\x00" in text[:4096] or not text.strip():
        raise BadFeatureError(f"{path}: {'empty' if not text.strip() else 'not a text file'}")
    named = block or block_of(path)
    reader = _reader_of(path, text)
    return reader(path, text, named, digest)


def block_of(path: Path) -> str:
    """The block that a file's name stands for."""
    name = path.name.lower()
    for block, pattern in BLOCK_PATTERNS:
        if re.search(pattern, name):
            return block
    return re.sub(r"\W+", "_", stem_of(path)).lower()


def stem_of(path: Path) -> str:
    """The file's name without the endings of its kind."""
    name = path.name
    while (suffix := Path(name).suffix.lower()) in FEATURE_SUFFIXES:
        name = name[: -len(suffix)]
    return name


def _reader_of(path: Path, text: str) -> Callable[[Path, str, str, str], Source]:
    endings = [s.lower() for s in path.suffixes]
    if ".sif" in endings:
        return _read_sif
    if ".csv" in endings or ".tsv" in endings or _is_symbol_table(text):
        return _read_csv
    if ".gmt" in endings or "\t" in text.partition("\n")[0]:
        return _read_gmt
    raise BadFeatureError(f"{path}: none of .gmt, .sif and .csv (each may end in .gz)")


def _is_symbol_table(text: str) -> bool:
    head = text.partition("\n")[0].lower().split("\t")
    return "symbol" in head and "alias_symbol" in head


def _read_gmt(path: Path, text: str, block: str, digest: str) -> GeneSets:
    """Set name, anything, then genes; a weight behind a comma is dropped."""
    sets: dict[str, list[str]] = {}
    for line, row in enumerate(text.splitlines(), start=1):
        if not row.strip():
            continue
        fields = row.split("\t")
        if len(fields) < 3:
            raise BadFeatureError(
                f"{path}: line {line} has {len(fields)} fields; a .gmt line is name, note, genes by tab"
            )
        genes = [g.partition(",")[0].strip() for g in fields[2:]]
        sets.setdefault(fields[0].strip(), []).extend(g for g in genes if g)
    return GeneSets(block, sets, path.name, digest)


def _read_sif(path: Path, text: str, block: str, digest: str) -> Edges:
    edges = []
    for line, row in enumerate(text.splitlines(), start=1):
        if not row.strip():
            continue
        fields = [f.strip() for f in (row.split("\t") if "\t" in row else row.split())]
        if len(fields) != 3 or not all(fields):
            raise BadFeatureError(
                f"{path}: line {line} has {len(fields)} fields; a .sif line is gene, relation, gene"
            )
        edges.append((fields[0], fields[1], fields[2]))
    return Edges(block, edges, path.name, digest)


def _read_csv(path: Path, text: str, block: str, digest: str) -> Source:
    tabs = "\t" in text.partition("\n")[0]
    rows = [r for r in csv.reader(io.StringIO(text), delimiter="\t" if tabs else ",") if r]
    header = [h.strip().lower() for h in rows[0]]
    for line, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise BadFeatureError(f"{path}: row {line} has {len(row)} fields, the header {len(header)}")
    column = {name: [row[i].strip() for row in rows[1:]] for i, name in enumerate(header)}
    if {"symbol", "name"} <= set(header) and ({"alias_symbol", "prev_symbol"} & set(header)):
        return _symbols(path, column, digest)
    if {"name", "genes"} <= set(header):
        return _grouped(column["name"], [g.split(";") for g in column["genes"]], block, path, digest)
    if {"set", "gene"} <= set(header):
        return _grouped(column["set"], [[g] for g in column["gene"]], block, path, digest)
    return _numbers(path, header, rows[1:], block, digest)


def _grouped(names: list[str], members: list[list[str]], block: str, path: Path, digest: str) -> GeneSets:
    sets: dict[str, list[str]] = {}
    for name, genes in zip(names, members, strict=True):
        sets.setdefault(name, []).extend(g.strip() for g in genes if g.strip())
    return GeneSets(block, sets, path.name, digest)


def _symbols(path: Path, column: Mapping[str, list[str]], digest: str) -> SymbolTable:
    count = len(column["symbol"])
    blank = [""] * count
    previous, aliases = column.get("prev_symbol", blank), column.get("alias_symbol", blank)
    other = [
        [x.strip() for x in re.split(r"[|,;]", f"{p}|{a}") if x.strip()]
        for p, a in zip(previous, aliases, strict=True)
    ]
    if "pubmed_id" in column:
        papers = [float(len(x.split("|"))) if x else 0.0 for x in column["pubmed_id"]]
    else:
        papers = [
            float(x) if re.fullmatch(r"\d+(\.\d+)?", x) else -1.0 for x in column.get("n_pubmed", blank)
        ]
    identifiers = column.get("ensembl_gene_id", blank)
    return SymbolTable(column["symbol"], column["name"], other, identifiers, papers, path.name, digest)


def _numbers(path: Path, header: list[str], rows: list[list[str]], block: str, digest: str) -> GeneTable:
    if len(header) < 2:
        raise BadFeatureError(f"{path}: one column; say set,gene or Name,Genes or a gene column and numbers")
    values = np.empty((len(rows), len(header) - 1))
    for i, row in enumerate(rows):
        for j, cell in enumerate(row[1:]):
            try:
                values[i, j] = float(cell)
            except ValueError:
                raise BadFeatureError(
                    f"{path}: line {i + 2}, column {header[j + 1]!r}: {cell!r} is no number; known tables are set,gene; "
                    "Name,Genes; a first column of genes and numbers; a symbol table (symbol,name,alias_symbol)"
                ) from None
    if not np.isfinite(values).all():
        i, j = np.argwhere(~np.isfinite(values))[0]
        raise BadFeatureError(f"{path}: line {i + 2}, column {header[j + 1]!r} is not finite")
    return GeneTable(block, [r[0].strip() for r in rows], header[1:], values, path.name, digest)
