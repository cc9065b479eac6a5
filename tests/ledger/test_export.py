"""A store can be handed to somebody who has nothing but the folder."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from agentkit.errors import LedgerError, VerificationError
from agentkit.ledger import Artifact, Export, Ledger, UnitOutcome, models
from tests.ledger.conftest import build, confirm, outcomes_of, toy_plugins, work

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def crate(url: str, tmp_path: Path) -> Export:
    stored = tmp_path / "artifacts"
    stored.mkdir()
    content = b"a,b\n1,2\n"
    sha256 = hashlib.sha256(content).hexdigest()
    (stored / f"{sha256}.csv").write_bytes(content)
    with Ledger(url) as ledger:
        campaign = ledger.campaign("tokens", root_seed=3)
        run = campaign.start_explore(toy_plugins(), "toy.dose", {}, 2, targets={"toy:model": "1"})
        [first, second] = outcomes_of(run)
        files = [Artifact(sha256, 8, "text/csv", "t.csv"), Artifact("f" * 64, 9, "text/csv", "gone.csv")]
        run.record(run.begin_attempt("w"), [UnitOutcome(0, "ok", first.measurements, "", files), second])
        confirm(campaign, campaign.register(build(toy_plugins())), 100)
        campaign.verdicts()
        return ledger.export(tmp_path / "out" / "crate", artifacts=stored)


def test_every_table_is_there_line_by_line(crate: Export) -> None:
    for model in models.ALL:
        lines = (crate.folder / "tables" / f"{models.table(model).name}.jsonl").read_text().splitlines()
        assert all(set(json.loads(line)) == {c.name for c in models.table(model).columns} for line in lines)
    assert len((crate.folder / "tables" / "outcome.jsonl").read_text().splitlines()) == 102


def test_the_metadata_lists_every_file_with_its_hash(crate: Export) -> None:
    graph = {e["@id"]: e for e in json.loads((crate.folder / "ro-crate-metadata.json").read_text())["@graph"]}
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    files = {p.relative_to(crate.folder).as_posix() for p in crate.folder.rglob("*") if p.is_file()}
    assert {e["@id"] for e in graph["./"]["hasPart"]} == files - {"ro-crate-metadata.json"}
    for name in files - {"ro-crate-metadata.json"}:
        assert graph[name]["sha256"] == hashlib.sha256((crate.folder / name).read_bytes()).hexdigest()


def test_a_verdict_can_be_followed_to_its_runs_and_tools(crate: Export) -> None:
    graph = {e["@id"]: e for e in json.loads((crate.folder / "ro-crate-metadata.json").read_text())["@graph"]}
    verdict = graph["#V1"]
    assert verdict["name"] == "H1: supported (decided)"
    assert graph[verdict["prov:wasDerivedFrom"]["@id"]]["isPartOf"] == {"@id": "#C1"}
    runs = [graph[r["@id"]] for r in verdict["prov:wasGeneratedBy"]]
    assert len(runs) == 5
    assert all({"@id": "#H1"} in run["prov:used"] for run in runs)
    assert graph[runs[0]["prov:wasAssociatedWith"]["@id"]]["name"] == "toy-dist"
    assert graph["#C1"]["identifier"] == crate.heads["tokens"]


def test_artifacts_travel_and_what_is_missing_is_said(crate: Export) -> None:
    [copied] = (crate.folder / "artifacts").iterdir()
    assert copied.read_bytes() == b"a,b\n1,2\n"
    assert crate.notes == ["1 of 2 artifacts are not there or were changed"]


def test_the_measurements_open_as_one_table(crate: Export) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install pyarrow")
    table = parquet.read_table(crate.folder / "measurements.parquet").to_pydict()
    assert len(table["value"]) == 2 * 9 + 100 * 2 * 3
    assert set(table["phase"]) == {"explore", "confirm"}


def test_the_copied_database_verifies_against_the_noted_head(crate: Export, url: str) -> None:
    database = crate.folder / "ledger.db"
    if url.startswith("postgresql"):  # a PostgreSQL store travels as tables only
        assert not database.exists()
        return
    heads = json.loads((crate.folder / "heads.json").read_text())
    with Ledger(database, readonly=True) as ledger:
        assert ledger.verify(anchor=heads["tokens"]).heads == heads == crate.heads


def test_a_taken_folder_is_left_alone(path: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("mine")
    with (
        Ledger(path) as ledger,
        pytest.raises(LedgerError, match="exists and is not empty; name a new folder"),
    ):
        ledger.export(tmp_path / "taken")
    assert (tmp_path / "taken" / "x").read_text() == "mine"


def test_a_damaged_store_is_not_handed_on(path: Path, tmp_path: Path) -> None:
    from tests.ledger.test_verify import tamper

    with Ledger(path) as ledger:
        work(ledger.campaign("a").start_explore(toy_plugins(), "toy.dose", {}, 2, targets={}))
    tamper(path, "UPDATE measurement SET value = 0.9 WHERE outcome = 1 AND position = 0")
    with Ledger(path, readonly=True) as ledger, pytest.raises(VerificationError, match="outcome 1"):
        ledger.export(tmp_path / "crate")
    assert not (tmp_path / "crate").exists()
