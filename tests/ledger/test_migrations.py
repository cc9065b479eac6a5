"""A store of an earlier release opens, upgrades and verifies, with every verdict as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations

from agentkit.errors import LedgerError
from agentkit.ledger import Ledger, models, rules, schema
from agentkit.ledger.migrations.run import revisions, rules_lifted, upgrade
from tests.ledger.conftest import DIALECTS, work

if TYPE_CHECKING:
    from collections.abc import Iterator

EARLIER = sorted((Path(__file__).parents[1] / "data" / "ledgers").glob("*.db"))


@pytest.fixture
def earlier(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return shutil.copy(request.param, tmp_path / "lab.db")


def test_a_file_of_every_earlier_schema_is_kept() -> None:
    assert [file.stem.removeprefix("schema_") for file in EARLIER] == list(schema.REVISIONS[:-1])


def test_the_known_revisions_are_those_of_the_migration_files() -> None:
    assert list(schema.REVISIONS) == list(revisions())


@pytest.mark.parametrize("earlier", EARLIER, indirect=True, ids=[f.stem for f in EARLIER])
def test_an_earlier_store_upgrades_and_keeps_its_verdicts(
    earlier: Path, request: pytest.FixtureRequest
) -> None:
    [kept] = [file for file in EARLIER if file.stem in request.node.callspec.id]
    known = json.loads(kept.with_suffix(".json").read_text())
    with Ledger(earlier) as ledger:
        ledger.verify(anchor=known["head"])
        campaign = ledger.campaign("tokens")
        assert campaign.head() == known["head"]
        now = [{name: getattr(v, name) for name in known["verdicts"][0]} for v in campaign.verdicts()]
        assert now == known["verdicts"]
        work(campaign.start_confirm(campaign.hypotheses()[-1], 10))  # what was in flight can be finished
        campaign.holdout("aa").ask("q", mean=0.5, guess=0.5)
        ledger.verify(anchor=known["head"])
    with Ledger(earlier, readonly=True) as ledger:
        ledger.verify()


@pytest.mark.parametrize("earlier", EARLIER, indirect=True, ids=[f.stem for f in EARLIER])
def test_an_earlier_store_opened_for_reading_says_how_to_upgrade(earlier: Path) -> None:
    before = earlier.read_bytes()
    with pytest.raises(LedgerError, match=r"older schema '\d{4}'; open it once for writing to upgrade it"):
        Ledger(earlier, readonly=True)
    assert earlier.read_bytes() == before


@pytest.mark.parametrize("earlier", EARLIER[:1], indirect=True)
def test_a_failing_migration_changes_nothing(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: sa.Connection) -> None:
        raise RuntimeError("power cut")

    before = tables(earlier)
    monkeypatch.setattr(rules, "install", fail)  # the last step of every migration
    with pytest.raises(RuntimeError, match="power cut"):
        Ledger(earlier)
    assert tables(earlier) == before
    monkeypatch.undo()
    Ledger(earlier).close()
    assert tables(earlier) > before


def tables(path: Path) -> set[str]:
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    return set(sa.inspect(engine).get_table_names())


@pytest.fixture(params=DIALECTS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Connection]:
    """A transaction on a database without tables."""
    if request.param == "sqlite":
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}", poolclass=sa.NullPool)
    else:
        url = sa.make_url(request.getfixturevalue("new_postgres_url")()).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def test_migrating_from_nothing_gives_the_tables_and_rules_of_a_fresh_store(empty: sa.Connection) -> None:
    upgrade(empty)
    differences = compare_metadata(MigrationContext.configure(empty), models.METADATA)
    assert [d for d in differences if "alembic_version" not in str(d)] == []
    assert rules.faults(empty) == []
    assert constraints(empty) == constraints_of_models()


def constraints(connection: sa.Connection) -> dict[str, Any]:
    """Keys and number of checks by table: what `compare_metadata` does not look at."""
    look = sa.inspect(connection)
    found = {}
    for model in models.ALL:
        name = models.table(model).name
        unique = sorted(tuple(sorted(c["column_names"])) for c in look.get_unique_constraints(name))
        keys = tuple(look.get_pk_constraint(name)["constrained_columns"])
        foreign = sorted(
            (tuple(f["constrained_columns"]), f["referred_table"]) for f in look.get_foreign_keys(name)
        )
        found[name] = (keys, unique, foreign, len(look.get_check_constraints(name)))
    return found


def constraints_of_models() -> dict[str, Any]:
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        models.METADATA.create_all(connection)
        return constraints(connection)


@pytest.mark.parametrize("earlier", EARLIER[-1:], indirect=True)
@pytest.mark.parametrize("table", ["outcome", "attempt", "hypothesis"])
def test_a_batch_change_keeps_rows_checks_and_rules(earlier: Path, table: str) -> None:
    """SQLite re-creates the table and silently drops its triggers; the migration's frame brings them back."""
    Ledger(earlier).close()
    engine = sa.create_engine(f"sqlite:///{earlier}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.rollback()
        with connection.begin():
            before = constraints(connection)
            with rules_lifted(connection):
                operations = Operations(MigrationContext.configure(connection))
                with operations.batch_alter_table(table, recreate="always") as batch:
                    batch.alter_column("id", comment="touched")
            assert rules.faults(connection) == []
            assert constraints(connection) == before
    engine.dispose()
    with Ledger(earlier) as ledger:
        ledger.verify()
