"""One finished study and its report, shared by the tests that only read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentkit.report import write_report
from tests.report.worlds import address_study

if TYPE_CHECKING:
    from pathlib import Path

    from agentkit.report import ReportPaths
    from tests.report.worlds import World

GOAL = "How well does the model still find misspelt addresses?"


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> World:
    return address_study(tmp_path_factory.mktemp("study") / "lab.db")


@pytest.fixture(scope="session")
def report(study: World, tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    return write_report(study.campaign, tmp_path_factory.mktemp("report"), planner="offline", goal=GOAL)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "lab.db"
