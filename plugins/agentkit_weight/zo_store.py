"""The write-ahead log of a distributed zeroth-order run: three SQL tables, written by the driver only."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import sqlalchemy as sa

from agentkit_weight.errors import LogMismatchError
from agentkit_weight.replica import Record, ZoSpec
from agentkit_weight.zo_log import require_base, require_whole, spec_from_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit_weight.zo import Probe

_META = sa.MetaData()
ZO_RUN = sa.Table(
    "zo_run",
    _META,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("base_sha256", sa.String, nullable=False),
    sa.Column("spec_json", sa.Text, nullable=False),
    sa.Column("noise_version", sa.String, nullable=False),
    sa.Column("table_sha256", sa.String, nullable=False),
    sa.Column("r", sa.Integer, nullable=False),
    sa.Column("eps", sa.Float, nullable=False),
    sa.Column("targets", sa.Text, nullable=False),
)
ZO_RECORD = sa.Table(
    "zo_record",
    _META,
    sa.Column("run", sa.ForeignKey("zo_run.id"), primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("worker", sa.Integer, primary_key=True),
    sa.Column("sample", sa.Integer, primary_key=True),
    sa.Column("byte", sa.Integer, nullable=False),
    sa.Column("loss", sa.Float, nullable=False),
    sa.Column("n", sa.Integer, nullable=False),
)
ZO_CHECKPOINT = sa.Table(
    "zo_checkpoint",
    _META,
    sa.Column("run", sa.ForeignKey("zo_run.id"), primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("sha256", sa.String, nullable=False),
    sa.Column("path", sa.String),
)


class ZoStore:
    """One run's rows in a SQLite file or a PostgreSQL database.

    Args:
        url: an SQLAlchemy URL, `sqlite:///run.db` or `postgresql+psycopg://…`.
        run: the run's id.
        spec: the run; a run that is already there must have the same.

    Raises:
        LogMismatchError: the stored run has another spec, base or coefficient table.
    """

    def __init__(self, url: str, run: str, spec: ZoSpec) -> None:
        self.run, self.spec = run, spec
        self._engine = sa.create_engine(url)
        _META.create_all(self._engine)
        row = {
            "id": run,
            "base_sha256": spec.base_sha256,
            "spec_json": json.dumps(asdict(spec), sort_keys=True),
            "noise_version": spec.noise_version,
            "table_sha256": spec.table_sha256,
            "r": spec.rank,
            "eps": spec.eps,
            "targets": json.dumps(spec.targets),
        }
        with self._engine.begin() as connection:
            there = connection.execute(sa.select(ZO_RUN).where(ZO_RUN.c.id == run)).mappings().first()
            if there is None:
                connection.execute(ZO_RUN.insert().values(row))
                return
        require_base(spec_from_json(json.loads(there["spec_json"])), spec.base_sha256)
        if changed := [name for name, value in row.items() if there[name] != value]:
            raise LogMismatchError(f"run {run!r} is stored with another {changed[0]}; choose another run id")

    def commit(self, probes: Sequence[Probe]) -> None:
        """All records of one step in one transaction: there whole, or not at all."""
        rows = [{"run": self.run, **p.record._asdict(), "loss": p.loss, "n": p.n} for p in probes]
        with self._engine.begin() as connection:
            connection.execute(ZO_RECORD.insert(), rows)

    def records(self) -> list[Record]:
        """All committed records in (step, worker, sample) order; raises `LogMismatchError` on a gap."""
        columns = [ZO_RECORD.c[name] for name in Record._fields]
        query = sa.select(*columns).where(ZO_RECORD.c.run == self.run).order_by(*columns[:3])
        with self._engine.connect() as connection:
            found = [Record(*map(int, row)) for row in connection.execute(query)]
        require_whole(self.spec, found)
        return found

    def checkpoint(self, step: int, sha256: str, path: str | None = None) -> None:
        """Remember the digest after `step` steps, and where a snapshot lies."""
        row = {"run": self.run, "step": step, "sha256": sha256, "path": path}
        with self._engine.begin() as connection:
            connection.execute(ZO_CHECKPOINT.insert().values(row))

    def checkpoints(self) -> list[tuple[int, str, str | None]]:
        """(steps done, digest, snapshot) in step order."""
        columns = (ZO_CHECKPOINT.c.step, ZO_CHECKPOINT.c.sha256, ZO_CHECKPOINT.c.path)
        query = sa.select(*columns).where(ZO_CHECKPOINT.c.run == self.run).order_by(ZO_CHECKPOINT.c.step)
        with self._engine.connect() as connection:
            return [(int(step), str(sha), path) for step, sha, path in connection.execute(query)]

    def close(self) -> None:
        """Let the database go."""
        self._engine.dispose()
