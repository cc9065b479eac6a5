"""What a store does when the world around it fails: wrong files, full disks, locks, two drivers, read-only folders."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agentkit.errors import CampaignLockedError, LedgerError
from agentkit.ledger import Ledger, places
from agentkit.ledger import store as store_module
from agentkit.ledger.store import Store
from tests.ledger.conftest import build, confirm, outcomes_of, toy_plugins, work

if TYPE_CHECKING:
    from agentkit.plugins import Plugins


# ---- what is not a ledger


def test_a_text_file_is_not_a_ledger(path: Path) -> None:
    path.write_text("dear diary")
    with pytest.raises(LedgerError, match="is not a SQLite database; name another file"):
        Ledger(path)
    assert path.read_text() == "dear diary"


def test_a_foreign_database_is_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    for readonly in (False, True):
        with pytest.raises(LedgerError, match="not an agentkit ledger; name another file"):
            Ledger(path, readonly=readonly)
    assert path.read_bytes() == before


def test_a_store_of_a_newer_version_is_refused(path: Path) -> None:
    Ledger(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    for readonly in (False, True):
        with pytest.raises(LedgerError, match=r"schema '9999'; this agentkit knows up to .*update agentkit"):
            Ledger(path, readonly=readonly)


def test_a_truncated_file_gives_one_clear_line(path: Path, plugins: Plugins) -> None:
    with Ledger(path) as ledger:
        confirm(ledger.campaign("a"), ledger.campaign("a").register(build(plugins)), 100)
    data = path.read_bytes()
    for share in (0.01, 0.3, 0.6, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(LedgerError) as caught, Ledger(path, readonly=True) as ledger:
            ledger.verify()
        assert "\n" not in str(caught.value)


def test_garbage_in_the_middle_gives_one_clear_line(path: Path, plugins: Plugins) -> None:
    with Ledger(path) as ledger:
        confirm(ledger.campaign("a"), ledger.campaign("a").register(build(plugins)), 100)
    data = bytearray(path.read_bytes())
    data[100 : len(data) // 2] = os.urandom(len(data) // 2 - 100)
    path.write_bytes(bytes(data))
    with pytest.raises(LedgerError) as caught, Ledger(path) as ledger:
        ledger.verify()
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///:memory:", "lives in a file"),
        ("mysql://h/d", "'mysql' is not supported"),
        ("://", "write sqlite:///FILE"),
    ],
)
def test_a_url_that_no_store_has_is_refused(url: str, message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        Ledger(url)


def test_a_missing_folder_or_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"folder .*nowhere does not exist; create it first"):
        Ledger(tmp_path / "nowhere" / "lab.db")
    with pytest.raises(LedgerError, match=r"no ledger .*lab.db; a study creates it"):
        Ledger(tmp_path / "lab.db", readonly=True)
    with pytest.raises(LedgerError, match="is a folder"):
        Ledger(tmp_path)
    assert not (tmp_path / "lab.db").exists()


def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "file_system", lambda _: "nfs4")
    with pytest.raises(LedgerError, match=r"network file system \(nfs4\).*use a local disk"):
        Ledger(path)
    assert not path.exists()


def test_the_file_system_of_a_path_is_known_on_linux() -> None:
    if not Path("/proc/self/mounts").exists():
        pytest.skip("only Linux says what is mounted where")
    assert places.file_system(Path("/proc/self/x")) == "proc"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_says_so(path: Path) -> None:
    Ledger(path).close()
    path.chmod(0)
    with pytest.raises(LedgerError, match="cannot be read: Permission denied"):
        Ledger(path)


# ---- reading only


def test_a_read_only_ledger_changes_nothing(path: Path, plugins: Plugins) -> None:
    with Ledger(path) as ledger:
        campaign = ledger.campaign("a")
        confirm(campaign, campaign.register(build(plugins)), 100)
        written = campaign.verdicts()
    before = path.read_bytes()
    with Ledger(path, readonly=True) as ledger:
        campaign = ledger.campaign("a")
        assert campaign.verdicts() == written
        assert campaign.status(campaign.hypotheses()[0]).label == written[0].label
        with pytest.raises(LedgerError, match="opened read-only; nothing was written"):
            campaign.register(build(plugins, null=-0.1))
        with pytest.raises(LedgerError, match=r"no campaign 'b'. Known: a"):
            ledger.campaign("b")
    assert path.read_bytes() == before


def test_a_reader_looks_while_the_driver_writes(path: Path, plugins: Plugins) -> None:
    with Ledger(path) as driver:
        campaign = driver.campaign("a")
        hypothesis = campaign.register(build(plugins))
        work(campaign.start_confirm(hypothesis, 10))
        with Ledger(path, readonly=True) as reader:
            seen = reader.campaign("a")
            assert seen.status(seen.hypotheses()[0]).units == 10
            work(campaign.start_confirm(hypothesis, 10))
            assert seen.status(seen.hypotheses()[0]).units == 20


def test_a_closed_ledger_says_so(path: Path) -> None:
    ledger = Ledger(path)
    ledger.close()
    with pytest.raises(LedgerError, match="is closed"):
        ledger.campaigns()


# ---- full disk


def test_a_full_disk_keeps_nothing_of_the_step_and_everything_before(path: Path, plugins: Plugins) -> None:
    """Every write of a study is tried on a full disk once; the study then ends as if nothing had happened."""
    with Ledger(path.with_name("undisturbed.db")) as ledger:
        undisturbed = study(ledger, plugins)
    with Ledger(path) as ledger:
        faults = FullNow(ledger)
        disturbed = study(ledger, plugins, faults)
        assert faults.count >= 20
        assert disturbed == undisturbed
        ledger.verify()


class FullNow:
    """Runs a step with no page left to grow, expects a clear error, makes room and runs it again."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.count = ledger, 0

    def __call__(self, step):
        store = self.ledger.store
        connection = store._connection
        assert connection is not None
        driver = connection.connection.driver_connection
        [(pages,)] = driver.execute("PRAGMA page_count").fetchall()
        driver.execute(f"PRAGMA max_page_count={pages}")
        with sqlite3.connect(f"file:{store.path}?mode=ro", uri=True) as other:
            before = other.execute("SELECT count(*) FROM event").fetchone()
        try:
            return step()
        except LedgerError as error:
            assert re.search(r"full; the disk or quota is full; nothing of this step was kept", str(error))
            self.count += 1
        finally:
            driver.execute("PRAGMA max_page_count=1073741823")
        with sqlite3.connect(f"file:{store.path}?mode=ro", uri=True) as other:
            assert other.execute("SELECT count(*) FROM event").fetchone() == before
        return step()


def study(ledger: Ledger, plugins: Plugins, step=lambda write: write()) -> list:
    campaign = ledger.campaign("a", root_seed=1)
    for i in range(4):
        hypothesis = step(
            lambda i=i: campaign.register(build(plugins, null=-0.01 * i), claim_text="x" * 5000)
        )
        for _ in range(3):
            run = step(lambda h=hypothesis: campaign.start_confirm(h, 40))
            fence = step(lambda run=run: run.begin_attempt("w" * 3000))
            step(lambda run=run, fence=fence: run.record(fence, outcomes_of(run)))
            step(lambda run=run, fence=fence: run.end_attempt(fence, "done", "e" * 1900))
        step(lambda h=hypothesis: campaign.close(h, "stopped"))
        step(campaign.verdicts)
        step(lambda: campaign.decide("planner", "note", {"text": "y" * 5000}))
    return [(v.label, v.log_e, v.lo, v.hi, v.estimate) for v in campaign.verdicts()]


# ---- locks and drivers


def test_a_locked_store_waits_and_then_goes_on(path: Path, plugins: Plugins) -> None:
    with Ledger(path) as ledger:
        campaign = ledger.campaign("a")
        blocker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        blocker.execute("BEGIN IMMEDIATE")
        threading.Timer(0.3, lambda: blocker.execute("COMMIT")).start()
        started = time.monotonic()
        assert campaign.register(build(plugins)).ref == "H1"
        assert time.monotonic() - started > 0.2
        blocker.close()


def test_a_store_locked_too_long_gives_a_clear_error_and_no_half_write(
    path: Path, plugins: Plugins, monkeypatch
) -> None:
    monkeypatch.setattr(store_module, "BUSY_SECONDS", 0.2)
    with Ledger(path) as ledger:
        campaign = ledger.campaign("a")
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            LedgerError, match=r"locked; another process held the store too long; nothing .* try again"
        ):
            campaign.register(build(plugins))
        blocker.execute("ROLLBACK")
        blocker.close()
        assert campaign.hypotheses() == []
        assert campaign.register(build(plugins)).ref == "H1"


def test_a_second_driver_is_told_who_holds_the_campaign(path: Path) -> None:
    with Ledger(path) as first, Ledger(path) as second:
        first.campaign("a")
        message = f"campaign 'a' is being driven by process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(CampaignLockedError, match=message):
            second.campaign("a")
        second.campaign("b")  # another campaign of the store is free
    with Ledger(path) as third:
        third.campaign("a")
    assert sorted(p.name for p in path.parent.iterdir()) == ["lab.db"]


HOLD = """
import sys, time
from agentkit.ledger import Ledger
ledger = Ledger(sys.argv[1])
ledger.campaign("a")
print("held", flush=True)
time.sleep(60)
"""


def test_a_killed_driver_leaves_its_campaign_free(path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with Ledger(path) as ledger:
        with pytest.raises(CampaignLockedError, match=f"process {child.pid} on"):
            ledger.campaign("a")
        child.kill()
        child.wait()
        child.stdout.close()
        ledger.campaign("a")


def test_who_takes_over_a_campaign_ends_the_right_of_the_other_driver(path: Path, plugins: Plugins) -> None:
    with Ledger(path) as hanging, Ledger(path, takeover=True) as driver:
        old = hanging.campaign("a")
        old.register(build(plugins))
        new = driver.campaign("a")
        with pytest.raises(
            CampaignLockedError, match=rf"taken over by process {os.getpid()} on .* writes nothing"
        ):
            old.register(build(plugins, max_units=199))
        hanging.close()  # must not free what is no longer its own
        with Ledger(path) as third, pytest.raises(CampaignLockedError, match="--takeover"):
            third.campaign("a")
        assert [h.ref for h in new.hypotheses()] == ["H1"]
        assert new.register(build(plugins, max_units=199)).ref == "H2"
        driver.verify()


def test_taking_over_what_nobody_holds_is_opening_it(path: Path) -> None:
    with Ledger(path, takeover=True) as driver:
        driver.campaign("a")
    assert sorted(p.name for p in path.parent.iterdir()) == ["lab.db"]


@pytest.mark.postgres
def test_on_postgres_a_takeover_ends_the_session_of_the_other_driver(
    new_postgres_url, plugins: Plugins
) -> None:
    url = new_postgres_url()
    with Ledger(url) as hanging, Ledger(url, takeover=True) as driver:
        old = hanging.campaign("a")
        with pytest.raises(CampaignLockedError, match="--takeover"), Ledger(url) as third:
            third.campaign("a")
        new = driver.campaign("a")
        for _ in range(2):  # the cut session, then the lock that another holds
            with pytest.raises(LedgerError):
                old.register(build(plugins))
        assert new.register(build(plugins)).ref == "H1"
        assert driver.verify().hypotheses == 1


@pytest.fixture
def link(postgres_server, new_postgres_url, monkeypatch):
    """A way to the server that can go half-open, and the store at its end."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from bad_link import BadLink

    folder = postgres_server.get_uri().rpartition("host=")[2]
    link = BadLink(Path(folder) / ".s.PGSQL.5432")
    link.store = link.url(new_postgres_url().rpartition("%3D")[2])
    yield link
    link.close()


@pytest.mark.postgres
@pytest.mark.skipif(sys.platform != "linux", reason="needs a socket filter")
@pytest.mark.parametrize("after_request", [False, True])
def test_a_half_open_link_is_given_up_and_the_driver_ends_its_own_lost_session(
    link, plugins: Plugins, after_request: bool
) -> None:
    with Ledger(link.store) as ledger:
        campaign = ledger.campaign("a")
        campaign.register(build(plugins))
        link.half_open(after_request=after_request)
        began = time.monotonic()
        with pytest.raises(LedgerError, match=r"postgres.*: "):
            campaign.register(build(plugins, null=-0.1))
        assert time.monotonic() - began < 20
        again = campaign.find(build(plugins, null=-0.1)) or campaign.register(build(plugins, null=-0.1))
        assert again.ref == "H2"
        assert ledger.verify().hypotheses == 2


@pytest.mark.postgres
def test_a_postgres_role_that_may_only_add_rows_is_enough_to_drive_a_campaign(
    postgres_server, new_postgres_url, plugins: Plugins
) -> None:
    import psycopg

    docs = (Path(__file__).parents[2] / "docs" / "stores.md").read_text()
    grants = docs.partition("```sql\n")[2].partition("```")[0]
    url = new_postgres_url()
    schema = url.rpartition("%3D")[2]
    role = f"driver_{schema}"
    Ledger(url).close()  # the owner makes the tables and the rules
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as owner:
        owner.execute(grants.format(role=role, schema=schema))
    theirs = url.replace("//postgres:@", f"//{role}:@")
    assert theirs != url
    with Ledger(theirs) as ledger:
        campaign = ledger.campaign("a", root_seed=1)
        hypothesis = campaign.register(build(plugins))
        confirm(campaign, hypothesis, 20)
        assert len(campaign.verdicts()) == 1
        ledger.verify()
    with psycopg.connect(theirs, autocommit=True) as connection:
        for statement in (
            "UPDATE outcome SET status = 'ok'", "DELETE FROM outcome", "TRUNCATE outcome",
            "DROP TRIGGER ak003_outcome_delete ON outcome", "ALTER TABLE outcome DISABLE TRIGGER ALL",
            "UPDATE hypothesis SET sesoi = 0",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


@pytest.mark.postgres
def test_a_silent_postgres_server_is_waited_for_as_long_as_the_url_says_or_a_minute(
    link, new_postgres_url
) -> None:
    for url, wanted in ((new_postgres_url(), "60000"), (link.store, "2000")):
        with Ledger(url) as ledger, ledger.store.read() as connection:
            assert connection.connection.driver_connection.info.get_parameters()["tcp_user_timeout"] == wanted


def test_a_lock_file_that_says_nonsense_still_locks(path: Path) -> None:
    from agentkit.ledger.lease import FileLease

    lease = FileLease(path.with_name("x.lock"), "a")
    path.with_name("x.lock").write_text(json.dumps(["?"]))
    with pytest.raises(CampaignLockedError, match="driven by another process"):
        FileLease(path.with_name("x.lock"), "a")
    lease.release()
    FileLease(path.with_name("x.lock"), "a").release()


WRITE = """
import sys
from tests.ledger.conftest import toy_plugins, build, confirm
from agentkit.ledger import Ledger
with Ledger(sys.argv[1]) as ledger:
    campaign = ledger.campaign(sys.argv[2])
    for i in range(2):
        confirm(campaign, campaign.register(build(toy_plugins(), null=-0.01 * i)), 40, batch=5)
    campaign.verdicts()
"""


def test_four_drivers_write_four_campaigns_of_one_store_without_a_lock_error(path: Path) -> None:
    Ledger(path).close()
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, str(path), f"c{i}"], env=env, stderr=subprocess.PIPE, text=True
        )
        for i in range(4)
    ]
    for child in children:
        _, said = child.communicate(timeout=120)
        assert (child.returncode, said) == (0, "")
    with Ledger(path, readonly=True) as ledger:
        report = ledger.verify()
    assert report.units == 4 * 2 * 40
    assert len(report.heads) == 4


def test_threads_of_one_driver_take_turns(path: Path) -> None:
    plugins = toy_plugins()
    with Ledger(path) as ledger:
        campaign = ledger.campaign("a")
        runs = [
            campaign.start_explore(plugins, "toy.dose", {"strength": s / 10}, 20, targets={})
            for s in range(4)
        ]
        threads = [threading.Thread(target=work, args=(run,), kwargs={"batch": 2}) for run in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(not run.missing() for run in runs)
        assert ledger.verify().units == 80


# ---- the connection itself


def test_a_commit_is_durable_and_rules_hold_on_replace(path: Path) -> None:
    store = Store(path)
    with store.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers")
        }
    store.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "recursive_triggers": 1}


def test_tables_are_strict(path: Path) -> None:
    Ledger(path).close()
    connection = sqlite3.connect(path)
    strict = {
        name: flag for _, name, kind, _, _, flag in connection.execute("PRAGMA table_list") if kind == "table"
    }
    connection.close()
    loose = {name for name, flag in strict.items() if not flag}
    assert loose <= {"alembic_version", "sqlite_schema", "sqlite_temp_schema"}
