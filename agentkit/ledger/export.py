"""Hand a store to somebody else: an RO-Crate with every table, who made what from what (PROV), and the heads.

The crate holds the root seeds: from here on a colleague can re-derive every seed, and `agentkit verify` the copy.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentkit.errors import LedgerError
from agentkit.ledger import models
from agentkit.ledger.provenance import crate_metadata
from agentkit.ledger.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentkit.ledger.store import Store

MEDIA_TYPES = {
    ".jsonl": "application/jsonl",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".db": "application/vnd.sqlite3",
}
LONG_TABLE = (
    "campaign", "hypothesis", "run", "phase", "tool", "unit", "seed", "status", "condition", "metric", "value",
)  # fmt: skip


@dataclass(frozen=True)
class Export:
    """What was written: the folder, the head of each campaign, and what was left out and why."""

    folder: Path
    heads: dict[str, str]
    notes: list[str] = field(default_factory=list)


def export(store: Store, folder: Path, artifacts: Path | None = None) -> Export:
    """Write the crate into a new folder, all of it or nothing.

    Args:
        store: a store that verifies; a damaged one is not handed on.
        folder: must not exist, or be empty.
        artifacts: where the artifacts of its runs lie, named by their hash; those found are copied.

    Raises:
        VerificationError: the store is not what was once written.
        LedgerError: the folder is taken or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LedgerError(f"{folder} exists and is not empty; name a new folder")
    report = verify(store)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as making:
            crate = Path(making) / "crate"
            crate.mkdir()
            notes = _fill(store, crate, report.heads, artifacts)
            if folder.exists():
                folder.rmdir()
            crate.rename(folder)
    except OSError as error:
        raise LedgerError(f"{folder} cannot be written: {error.strerror}; nothing was exported") from None
    return Export(folder, report.heads, notes)


def _fill(store: Store, crate: Path, heads: dict[str, str], artifacts: Path | None) -> list[str]:
    notes: list[str] = []
    if store.path is not None:
        _copy_database(store, crate / "ledger.db")
    (crate / "tables").mkdir()
    with store.read() as connection:
        for model in models.ALL:
            table = models.table(model)
            lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in _rows(connection, table))
            _write_lines(crate / "tables" / f"{table.name}.jsonl", lines)
        notes += _measurements(connection, crate / "measurements.parquet")
        notes += _artifacts(connection, crate / "artifacts", artifacts)
        heads_text = json.dumps(heads, indent=2, ensure_ascii=False)
        (crate / "heads.json").write_text(heads_text + "\n", encoding="utf-8")
        files = {
            path.relative_to(crate).as_posix(): _described(path)
            for path in sorted(crate.rglob("*"))
            if path.is_file()
        }
        metadata = crate_metadata(connection, files, heads)
    text = json.dumps(metadata, indent=2, ensure_ascii=False)
    (crate / "ro-crate-metadata.json").write_text(text + "\n", encoding="utf-8")
    return notes


def _copy_database(store: Store, target: Path) -> None:
    """One state of the database, made by SQLite itself: it needs no write-ahead log and can be verified again."""
    source, copy = sqlite3.connect(store.read_only_uri, uri=True), sqlite3.connect(target)
    try:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
    finally:
        copy.close()
        source.close()


def _rows(connection: sa.Connection, table: sa.Table) -> Iterator[dict[str, Any]]:
    for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns)).mappings():
        yield dict(row)


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _measurements(connection: sa.Connection, path: Path) -> list[str]:
    """Every measured value with what it is about, as one Parquet table for analysis."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return ["measurements.parquet was left out: pip install pyarrow"]
    run, unit, outcome, value, campaign = (
        models.table(m)
        for m in (
            models.RunTable,
            models.RunUnitTable,
            models.OutcomeTable,
            models.MeasurementTable,
            models.CampaignTable,
        )
    )
    query = (
        sa.select(
            campaign.c.key.label("campaign"), run.c.hypothesis, run.c.id.label("run"), run.c.phase, run.c.tool,
            unit.c.unit, unit.c.seed, outcome.c.status, value.c.condition, value.c.metric, value.c.value,
        )
        .join(outcome, outcome.c.id == value.c.outcome)
        .join(unit, sa.and_(unit.c.run == outcome.c.run, unit.c.unit == outcome.c.unit))
        .join(run, run.c.id == outcome.c.run)
        .join(campaign, campaign.c.id == run.c.campaign)
        .order_by(outcome.c.id, value.c.position)
    )  # fmt: skip
    rows = connection.execute(query).all()
    types = [
        pa.string(),
        pa.int64(),
        pa.int64(),
        pa.string(),
        pa.string(),
        pa.int64(),
        pa.int64(),
        pa.string(),
    ]
    types += [pa.string(), pa.string(), pa.float64()]
    columns = zip(*rows, strict=True) if rows else [()] * len(LONG_TABLE)
    arrays = [pa.array(list(column), kind) for column, kind in zip(columns, types, strict=True)]
    pq.write_table(pa.table(arrays, names=list(LONG_TABLE)), path, compression="zstd")
    return []


def _artifacts(connection: sa.Connection, target: Path, source: Path | None) -> list[str]:
    """Copy the files that outcomes name, after hashing them again."""
    wanted = list(connection.execute(sa.select(models.table(models.ArtifactTable).c.sha256)).scalars())
    if not wanted:
        return []
    found = (
        {p.name.split(".")[0]: p for p in source.rglob("*") if p.is_file()}
        if source and source.is_dir()
        else {}
    )
    target.mkdir()
    missing = 0
    for sha256 in sorted(wanted):
        path = found.get(sha256)
        if path is None or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            missing += 1
        else:
            shutil.copyfile(path, target / path.name)
    return [f"{missing} of {len(wanted)} artifacts are not there or were changed"] if missing else []


def _described(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    kind = MEDIA_TYPES.get(path.suffix, "application/octet-stream")
    return {
        "contentSize": str(len(content)),
        "encodingFormat": kind,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
