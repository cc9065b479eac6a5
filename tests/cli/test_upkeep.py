"""`doctor` and `db`: what is here and what is wrong, which database, and its upgrade."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

LEDGERS = Path(__file__).parents[1] / "data" / "ledgers"


@pytest.fixture
def old(folder):
    """A ledger as an earlier version wrote it."""
    shutil.copy(LEDGERS / "schema_0001.db", folder / "old.db")
    return "old.db"


def test_an_older_ledger_is_named_with_the_command_that_upgrades_it(agentkit, old):
    code, _, err = agentkit("log", old)
    assert code == 2 and "agentkit db upgrade" in err
    code, out, _ = agentkit("db", "upgrade", old, "--json")
    assert code == 0 and json.loads(out) == {"before": "0001", "now": "0003"}
    assert agentkit("verify", old)[0] == 0
    assert "nothing to do" in agentkit("db", "upgrade", old)[1]


def test_what_is_no_ledger_is_not_made_one(agentkit, folder):
    code, _, err = agentkit("db", "upgrade", "none.db")
    assert code == 2 and "no ledger none.db" in err and not (folder / "none.db").exists()
    (folder / "bad.db").write_text("x")
    code, _, err = agentkit("db", "upgrade", "bad.db")
    assert code == 2 and "bad.db" in err


def test_the_url_is_whole_and_without_its_password(agentkit, folder, monkeypatch):
    assert agentkit("db", "url", "lab.db")[1].strip() == f"sqlite:///{folder}/lab.db"
    monkeypatch.setenv("AGENTKIT_STORE", "postgresql://me:canary@host/db")
    out = agentkit("db", "url")[1]
    assert "canary" not in out and "me:***@host/db" in out


def test_doctor_says_what_is_here_and_that_no_ledger_is_no_fault(agentkit, folder):
    code, out, err = agentkit("doctor", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["machine"]["cpus"] >= 1 and "not there yet" in found["ledger"]["state"]
    assert found["not_loaded"] == [] and found["options"] == {"set": 0, "fault": ""}
    code, text, _ = agentkit("doctor")
    if found["packages"]["ray"] != "not installed":
        assert "listens on all interfaces" in text


def test_doctor_names_a_broken_options_file_and_a_ledger_that_does_not_open(
    agentkit, folder, old, monkeypatch
):
    monkeypatch.setenv("AGENTKIT_STORE", old)
    code, out, _ = agentkit("doctor")
    assert code == 1 and "agentkit db upgrade" in out
    monkeypatch.delenv("AGENTKIT_STORE")
    (folder / "agentkit.toml").write_text("stoer = 1\n")
    code, out, _ = agentkit("doctor")
    assert code == 1 and "agentkit.toml:1: no option 'stoer'" in out
