"""A driver killed at any step goes on as if nothing had happened: the benchmark's faults, a few of each kind."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def faults() -> Any:
    """The benchmark script as a module."""
    path = Path(__file__).parents[2] / "benchmarks" / "ledger_faults.py"
    spec = importlib.util.spec_from_file_location("ledger_faults", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ledger_faults"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def undisturbed(faults: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return faults.study(
        tmp_path_factory.mktemp("faults") / "undisturbed.db", faults.undisturbed, lambda *_: None
    )


def test_the_study_decides_both_claims(undisturbed: list[Any]) -> None:
    assert [row[1] for row in undisturbed] == ["supported", "contradicted"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # the child only runs the study and exits
@pytest.mark.parametrize(
    "moments",
    [
        ("inside",),
        pytest.param(("before", "after"), marks=pytest.mark.slow),  # 14 studies, killed and resumed
    ],
)
def test_a_kill_at_any_write_loses_nothing(
    faults: Any, undisturbed: list[Any], tmp_path: Path, moments: tuple[str, ...]
) -> None:
    tallies = list(faults.kill_at_steps(tmp_path, undisturbed, 1, moments))
    assert [t.faults for t in tallies] == [len(moments)] * len(faults.STEPS)
    assert all(t.clean for t in tallies), [t.line() for t in tallies]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # the child only runs the study and exits
def test_kills_at_random_times_lose_nothing(faults: Any, undisturbed: list[Any], tmp_path: Path) -> None:
    tally = faults.kill_at_random(tmp_path, undisturbed, 6)
    assert tally.faults == 6
    assert tally.clean, tally.line()


def test_late_workers_and_second_drivers_change_nothing(
    faults: Any, undisturbed: list[Any], tmp_path: Path
) -> None:
    second, late = faults.drivers_and_late_workers(tmp_path, undisturbed, 3)
    assert second.clean and second.seen == {"told who holds it": 3}
    assert late.clean and late.seen == {"AK007": 3}


def test_a_clock_that_jumps_by_a_day_changes_no_verdict(
    faults: Any, undisturbed: list[Any], tmp_path: Path
) -> None:
    tally = faults.moved_clock(tmp_path, undisturbed, 1)
    assert tally.faults == 1
    assert tally.clean, tally.line()


def test_a_full_disk_is_said_and_nothing_is_lost_when_there_is_room_again(
    faults: Any, undisturbed: list[Any], tmp_path: Path
) -> None:
    tally = faults.full_disk(tmp_path, undisturbed, 3)
    assert tally.faults >= 3
    assert tally.clean and set(tally.seen) == {"clear errors"}, tally.line()


def test_a_store_that_is_locked_longer_than_the_driver_waits_is_said_and_nothing_is_lost(
    faults: Any, undisturbed: list[Any], tmp_path: Path
) -> None:
    tally = faults.locked(tmp_path, undisturbed, 3)
    assert tally.faults == 3
    assert tally.clean and set(tally.seen) == {"clear errors"}, tally.line()


def test_damaged_files_are_named_or_the_damage_is_in_bytes_that_hold_no_row(
    faults: Any, tmp_path: Path
) -> None:
    tally = faults.damaged_files(tmp_path, 20)
    assert tally.faults == 20
    assert tally.clean and set(tally.seen) <= {"named or refused", "in unused bytes"}, tally.line()


@pytest.mark.postgres
def test_a_postgres_session_cut_at_a_write_loses_nothing(faults: Any, undisturbed: list[Any]) -> None:
    tally = faults.cut_links(undisturbed, 5)
    assert tally.clean and tally.faults == 5 and set(tally.seen) == {"clear errors"}, tally.line()


@pytest.mark.postgres
@pytest.mark.skipif(sys.platform != "linux", reason="needs a socket filter")
def test_a_slow_postgres_link_that_goes_half_open_at_a_write_loses_nothing(
    faults: Any, undisturbed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    tally = faults.bad_links(undisturbed, 2)
    assert tally.clean and tally.faults == 2 and set(tally.seen) == {"clear errors"}, tally.line()
