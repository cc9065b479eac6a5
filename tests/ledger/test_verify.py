"""`verify` on damaged copies: whatever was done to the file, the row is named."""

from __future__ import annotations

import random
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from agentkit.canon import sha256_of
from agentkit.errors import LedgerError, VerificationError
from agentkit.ledger import Ledger, chain, rules
from tests.ledger.conftest import build, confirm, work

if TYPE_CHECKING:
    from pathlib import Path

    from agentkit.plugins import Plugins


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study: exploration, two claims, verdicts, a decision."""
    from tests.ledger.conftest import toy_plugins

    plugins = toy_plugins()
    path = tmp_path_factory.mktemp("study") / "lab.db"
    with Ledger(path) as ledger:
        campaign = ledger.campaign("tokens", root_seed=3)
        work(campaign.start_explore(plugins, "toy.dose", {}, 4, targets={}, environment={"torch": "2"}))
        confirm(campaign, campaign.register(build(plugins)), 60)
        campaign.verdicts()
        confirm(campaign, campaign.register(build(plugins, null=-0.02)), 60)
        campaign.verdicts()
        campaign.decide("planner", "stop", {"why": "done"})
    return path


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return shutil.copy(original, tmp_path / "copy.db")


def tamper(path: Path, *statements: str, cover_tracks: bool = True) -> None:
    """Change rows by raw SQL after dropping the triggers; put them back unless told otherwise."""
    connection = sqlite3.connect(path)
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("PRAGMA foreign_keys=OFF")
    for statement in statements:
        assert connection.execute(statement).rowcount != 0, f"nothing was changed by {statement}"
    if cover_tracks:
        for _, sql in triggers:
            connection.execute(sql)
    connection.commit()
    connection.close()


def named(path: Path, anchor: str | None = None) -> str:
    """What verify says about a damaged store."""
    with Ledger(path, readonly=True) as ledger, pytest.raises(VerificationError) as caught:
        ledger.verify(anchor=anchor)
    return str(caught.value)


def head_of(path: Path) -> str:
    with Ledger(path, readonly=True) as ledger:
        return ledger.campaign("tokens").head()


def test_an_untouched_study_passes(original: Path) -> None:
    with Ledger(original, readonly=True) as ledger:
        report = ledger.verify(anchor=ledger.campaign("tokens").head())
    assert (report.hypotheses, report.units, report.verdicts) == (2, 124, 2)
    assert report.heads == {"tokens": head_of(original)}
    assert report.events > 124


DAMAGE = [
    ("UPDATE measurement SET value = value + 1e-9 WHERE outcome = 30 AND metric = 'score' AND condition = 'baseline'", r"event \d+ \(outcome 30\): outcome 30 \(run R3, unit 25\) is not what was sealed"),
    ("DELETE FROM measurement WHERE outcome = 30 AND metric = 'score' AND condition = 'baseline'", r"outcome 30 \(run R3"),
    ("DELETE FROM outcome WHERE id = 30", r"belongs to a outcome that is gone"),
    ("DELETE FROM attempt_end WHERE id = 2", r"\(attempt_end 2\): its row is gone"),
    ("DELETE FROM verdict WHERE id = 1", r"\(verdict 1\): its row is gone"),
    ("DELETE FROM event WHERE seq = 20", r"event 20 is missing"),
    ("DELETE FROM decision", r"\(decision 1\): its row is gone"),
    ("UPDATE verdict SET label = 'supported', k_star = 9 WHERE id = 2", r"verdict 2 \(hypothesis H\d\) is not what was sealed"),
    ("UPDATE outcome SET status = 'failed' WHERE id = 30", r"outcome 30 \(run R3, unit 25\) is not"),
    ("UPDATE hypothesis SET direction = 'greater' WHERE id = 1", r"hypothesis H1 is not what was sealed"),
    ("UPDATE hypothesis SET close_reason = 'x' WHERE id = 2", r"\(close 2\): hypothesis H2 is not"),
    ("UPDATE hypothesis SET state = 'frozen' WHERE id = 2", r"hypothesis H2 was closed and has been reopened"),
    ("UPDATE run SET params_json = '{}' WHERE id = 3", r"run R3 is not what was sealed"),
    ("UPDATE run_unit SET seed = seed + 1 WHERE run = 3 AND unit = 25", r"run R3 is not what was sealed"),
    ("UPDATE campaign SET alpha = 0.5", r"event 1 .*the campaign's own row was changed"),
    ("UPDATE campaign SET root_seed = '0'", r"event 1 .*the campaign's own row was changed"),
    ("UPDATE environment SET content_json = '{\"torch\":\"3\"}'", r"environment .* is not what was recorded"),
    ("UPDATE decision SET content_json = '{}'", r"decision 1 is not what was sealed"),
    ("UPDATE event SET ref = 999 WHERE seq = 1",
        r"event 1 \(run 999\): its row is gone",
    ),
    ("UPDATE attempt SET worker = 'other' WHERE id = 2", r"attempt 2 is not what was sealed"),
    ("INSERT INTO measurement VALUES (30, 'baseline', 'invented', 9, 0.5)", r"outcome 30 \(run R3"),
    ("INSERT INTO attempt VALUES (99, 3, 2, 'ghost', 'now')", r"attempt 99 was written past the ledger"),
    ("INSERT INTO verdict SELECT 99, 1, 999, engine_version, 'supported', reason, sign, estimate, lo, hi, log_e, level, k_star, units, failed, input_sha256 FROM verdict WHERE id = 1", r"verdict 99 was written past the ledger"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "message"), DAMAGE, ids=[s[:60] for s, _ in DAMAGE])
def test_the_damaged_row_is_named(copy: Path, statement: str, message: str) -> None:
    import re

    tamper(copy, statement)
    said = named(copy)
    assert re.search(message, said), said


def test_two_swapped_values_name_the_first_of_them(copy: Path) -> None:
    pair = "outcome IN (30, 40) AND metric = 'score' AND condition = 'dose=0.2'"
    tamper(
        copy,
        f"UPDATE measurement SET value = (SELECT sum(value) FROM measurement WHERE {pair}) - value WHERE {pair}",
    )
    assert "outcome 30 (run R3, unit 25) is not what was sealed" in named(copy)


def test_two_swapped_outcomes_name_the_first_of_them(copy: Path) -> None:
    tamper(
        copy,
        "UPDATE outcome SET id = 999 WHERE id = 30",
        "UPDATE outcome SET id = 30 WHERE id = 40",
        "UPDATE outcome SET id = 40 WHERE id = 999",
    )
    assert "(outcome 30): outcome 30 (run R3, unit 35) is not what was sealed" in named(copy)


def test_two_swapped_events_name_the_first_of_them(copy: Path) -> None:
    tamper(
        copy,
        "UPDATE event SET seq = 999 WHERE seq = 20",
        "UPDATE event SET seq = 20 WHERE seq = 21",
        "UPDATE event SET seq = 21 WHERE seq = 999",
    )
    assert "event 20 (outcome" in named(copy)


@pytest.mark.parametrize("rule", [r.trigger for r in rules.RULES[:: max(1, len(rules.RULES) // 6)]])
def test_a_missing_rule_is_named_and_nothing_can_be_written(copy: Path, rule: str) -> None:
    connection = sqlite3.connect(copy)
    connection.execute(f"DROP TRIGGER {rule}")
    connection.close()
    assert f"rule {rule} is missing" in named(copy)
    with pytest.raises(LedgerError, match=f"rule {rule} is missing.*nothing was written"):
        Ledger(copy)


def test_a_weakened_rule_is_named(copy: Path) -> None:
    connection = sqlite3.connect(copy)
    connection.execute("DROP TRIGGER ak003_measurement_update")
    connection.execute(
        "CREATE TRIGGER ak003_measurement_update BEFORE UPDATE ON measurement BEGIN SELECT 1; END"
    )
    connection.close()
    assert "rule ak003_measurement_update is altered or disabled" in named(copy)


def test_an_attacker_who_leaves_the_rules_off_is_told_both_ways(copy: Path) -> None:
    tamper(copy, "UPDATE measurement SET value = 0.9 WHERE outcome = 30 AND position = 0", cover_tracks=False)
    said = named(copy)
    assert "outcome 30 (run R3, unit 25) is not what was sealed" in said
    assert "is missing" in said


def rebuild(path: Path) -> None:
    """What somebody with write access and patience does: edit a value, then compute every hash again."""
    tamper(
        path,
        "UPDATE measurement SET value = 0.9 WHERE outcome = 30 AND metric = 'score' AND condition = 'baseline'",
    )
    with Ledger(path, readonly=True) as ledger, ledger.store.read() as connection:
        from agentkit.ledger.rows import bodies
        from agentkit.ledger.verify import CAMPAIGN

        campaign = dict(connection.execute(CAMPAIGN.select()).mappings().one())
        events = [
            dict(e) for e in connection.execute(chain.EVENT.select().order_by(chain.EVENT.c.seq)).mappings()
        ]
        found = bodies(connection, [(e["kind"], e["ref"]) for e in events])
    at = chain.genesis(campaign)
    statements = []
    for e in events:
        body_sha256 = sha256_of(found[e["kind"], e["ref"]])
        link = chain.link_hash("tokens", e["seq"], e["kind"], body_sha256, at.hash)
        values = f"body_sha256 = '{body_sha256}', prev_hash = '{at.hash}', hash = '{link}'"
        statements.append(f"UPDATE event SET {values} WHERE seq = {e['seq']}")
        at = chain.Head(e["seq"], link)
    tamper(path, *statements)


def test_a_rebuilt_chain_is_betrayed_by_its_verdicts_or_by_the_anchor(original: Path, copy: Path) -> None:
    anchor = head_of(original)
    rebuild(copy)
    assert "its outcomes give" in named(copy)  # the verdicts were not recomputed
    tamper(
        copy,
        "DELETE FROM verdict",
        "DELETE FROM event WHERE kind IN ('verdict', 'decision')",
        "DELETE FROM decision",
    )
    renumber = sqlite3.connect(copy)
    gap = renumber.execute("SELECT count(*), max(seq) FROM event").fetchone()
    renumber.close()
    assert gap[0] < gap[1]
    assert "is missing" in named(copy)
    assert anchor != head_of(copy)


def test_only_the_anchor_tells_a_perfect_forgery(original: Path, tmp_path: Path, plugins: Plugins) -> None:
    anchor = head_of(original)
    forged = tmp_path / "forged.db"
    with Ledger(forged) as ledger:
        campaign = ledger.campaign("tokens", root_seed=4)
        confirm(campaign, campaign.register(build(plugins)), 40)
        campaign.verdicts()
        ledger.verify()
    assert "is in no chain" in named(forged, anchor)


def test_an_old_anchor_still_fits_a_chain_that_has_grown(copy: Path, plugins: Plugins) -> None:
    anchor = head_of(copy)
    with Ledger(copy) as ledger:
        ledger.campaign("tokens").decide("human", "note", {})
        assert ledger.campaign("tokens").head() != anchor
        ledger.verify(anchor=anchor)


def test_a_seed_that_was_chosen_is_named(
    original: Path, tmp_path: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that passes over seeds it does not like, and seals that correctly, is found by re-derivation."""
    from agentkit.ledger import dispatch

    def shopping(root: str, phase: str, spec: str, unit: int, retry: int = 0) -> int:
        from agentkit.seeds import unit_seed

        return unit_seed(root, phase, spec, unit, retry + (1 if unit == 2 else 0))

    monkeypatch.setattr(dispatch, "unit_seed", shopping)
    path = tmp_path / "shopped.db"
    with Ledger(path) as ledger:
        campaign = ledger.campaign("tokens")
        campaign.start_confirm(campaign.register(build(plugins)), 5)
    assert "unit 2 of run R1: its seed does not follow" in named(path)


def test_a_seed_passed_over_without_need_is_named(tmp_path: Path, plugins: Plugins) -> None:
    path = tmp_path / "passed.db"
    with Ledger(path) as ledger:
        campaign = ledger.campaign("tokens", root_seed=1)
        hypothesis = campaign.register(build(plugins))
        from agentkit.ledger import dispatch

        real = dispatch.unit_seed
        taken = real(campaign.root_seed, "confirm", hypothesis.spec.sha256, 0)
        dispatch.unit_seed = lambda *a: real(*a) if a[4] else (0 if real(*a) == taken else real(*a))  # type: ignore[assignment]
        try:
            with ledger.store.write() as connection:
                connection.exec_driver_sql("SELECT 1")
            run = campaign.start_confirm(hypothesis, 1)
        finally:
            dispatch.unit_seed = real
        assert run.units[0].seed == 0
    assert "its seed does not follow" in named(path)


@pytest.mark.parametrize("start", [0, 20])
def test_a_flipped_bit_never_passes_unseen_where_it_matters(
    original: Path, tmp_path: Path, start: int
) -> None:
    """Each flip is reported, refused as a damaged file, or lies in bytes that hold no row (then all rows are equal)."""
    data = original.read_bytes()
    rows = dump(original)
    for seed in range(start, start + 20):
        place = random.Random(seed).randrange(len(data) * 8)
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << (place % 8)
        path = tmp_path / f"flip{seed}.db"
        path.write_bytes(bytes(flipped))
        try:
            with Ledger(path, readonly=True) as ledger:
                ledger.verify()
        except LedgerError:
            continue
        assert dump(path) == rows, f"bit {place} changed a row unseen"


def dump(path: Path) -> dict[str, list]:
    connection = sqlite3.connect(path)
    tables = [
        r[0] for r in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")
    ]
    content = {table: connection.execute(f'SELECT * FROM "{table}"').fetchall() for table in tables}
    connection.close()
    return content


def test_verifying_changes_nothing(copy: Path) -> None:
    before = copy.read_bytes()
    with Ledger(copy, readonly=True) as ledger:
        ledger.verify()
    assert copy.read_bytes() == before
