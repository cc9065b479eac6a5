"""Reading tables with named columns: CSV or TSV (also gzipped) and Parquet, every cell as text."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from typing import TYPE_CHECKING

from agentkit.errors import MissingExtraError
from agentkit_gene.loop.errors import BadScreenError

if TYPE_CHECKING:
    from pathlib import Path

    from agentkit.errors import AgentkitError

Table = dict[str, list[str]]
"""Columns by lower-cased name; all equally long."""


def read_bytes(path: Path, kind: type[AgentkitError] = BadScreenError) -> bytes:
    """The file's content, unzipped when its name ends in .gz."""
    if not path.is_file():
        raise kind(f"{path}: no such file")
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise kind(f"{path}: cannot be read ({error})") from None


def read_text(path: Path, kind: type[AgentkitError] = BadScreenError) -> str:
    """The file's content as UTF-8 text."""
    try:
        return read_bytes(path, kind).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise kind(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def read_table(path: Path, kind: type[AgentkitError] = BadScreenError) -> Table:
    """The columns of a CSV, TSV or Parquet file."""
    if path.suffix == ".parquet":
        return _parquet(path, kind)
    text = read_text(path, kind)
    tabs = ".tsv" in path.suffixes or (path.suffix == ".txt" and "\t" in text.partition("\n")[0])
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter="\t" if tabs else ",", strict=True))
    except csv.Error as error:
        raise kind(f"{path}: not a table ({error})") from None
    if not rows or not any(rows[0]):
        raise kind(f"{path}: empty")
    header = [name.strip().lower() for name in rows[0]]
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise kind(f"{path}: column {twice!r} comes twice")
    body = [row for row in rows[1:] if row]
    for line, row in enumerate(rows[1:], start=2):
        if row and len(row) != len(header):
            raise kind(f"{path}: line {line} has {len(row)} fields, the header {len(header)}")
    return {name: [row[i].strip() for row in body] for i, name in enumerate(header)}


def _parquet(path: Path, kind: type[AgentkitError]) -> Table:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingExtraError(
            'Parquet files need pyarrow: pip install "agentkit-perturb[parquet]"'
        ) from None
    if not path.is_file():
        raise kind(f"{path}: no such file")
    try:
        columns = parquet.read_table(path).to_pydict()
    except (ArrowException, OSError) as error:
        raise kind(f"{path}: cannot be read as Parquet ({error})") from None
    return {
        str(k).lower(): ["" if v is None else str(v).strip() for v in values] for k, values in columns.items()
    }
