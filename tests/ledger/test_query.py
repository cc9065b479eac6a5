"""Somebody's own SQL can look at everything but the root, and can do nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentkit.errors import LedgerError
from tests.ledger.conftest import build, work

if TYPE_CHECKING:
    from agentkit.ledger import Campaign, Ledger
    from agentkit.plugins import Plugins


@pytest.fixture
def filled(ledger: Ledger, campaign: Campaign, plugins: Plugins) -> Ledger:
    work(campaign.start_confirm(campaign.register(build(plugins)), 5))
    return ledger


def test_a_select_gives_rows_by_name(filled: Ledger) -> None:
    rows = filled.query("SELECT unit, status FROM outcome ORDER BY unit LIMIT 2")
    assert rows == [{"unit": 0, "status": "ok"}, {"unit": 1, "status": "ok"}]
    assert filled.query("WITH u AS (SELECT unit FROM outcome) SELECT count(*) AS n FROM u") == [{"n": 5}]


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM outcome", "UPDATE campaign SET alpha = 1", "DROP TABLE outcome", "PRAGMA user_version", "ATTACH 'x' AS y",
     "SELECT 1; DELETE FROM outcome", "SELECT 1; COMMIT; DELETE FROM outcome", "WITH x AS (SELECT 1) DELETE FROM outcome",
     "BEGIN", "", "COMMIT", "VACUUM", "CREATE TABLE x (y)", "INSERT INTO artifact VALUES ('a', 1, 'b')"],
)  # fmt: skip
def test_anything_but_one_select_is_refused(filled: Ledger, sql: str) -> None:
    with pytest.raises(LedgerError):
        filled.query(sql)
    assert filled.query("SELECT count(*) AS n FROM outcome") == [{"n": 5}]
    filled.verify()


def test_the_root_seed_is_not_shown(filled: Ledger, campaign: Campaign) -> None:
    asked = ["SELECT * FROM campaign", "SELECT root_seed FROM campaign", "SELECT 'x' || root_seed AS r FROM campaign",
             "SELECT CAST(campaign.root_seed AS TEXT) AS r FROM campaign"]  # fmt: skip
    for sql in asked:
        try:
            shown = str(filled.query(sql))
        except LedgerError as error:
            shown = str(error)
        assert campaign.root_seed not in shown
    assert filled.query("SELECT key, alpha FROM campaign") == [{"key": "tokens", "alpha": 0.05}]


def test_an_endless_query_is_stopped(filled: Ledger) -> None:
    endless = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT count(*) FROM t"
    with pytest.raises(LedgerError, match=r"ran longer than 0.2 s and was stopped"):
        filled.query(endless, most_seconds=0.2)


def test_too_many_rows_are_refused_with_the_way_out(filled: Ledger) -> None:
    with pytest.raises(LedgerError, match="more than 3 rows; add LIMIT"):
        filled.query("SELECT * FROM outcome", most_rows=3)


def test_a_mistake_in_sql_is_told_in_one_line(filled: Ledger) -> None:
    with pytest.raises(LedgerError, match=r"cannot be answered: .*outcomes") as caught:
        filled.query("SELECT * FROM outcomes")
    assert "\n" not in str(caught.value)
