"""`agentkit diff A B`: where two conversations part."""

from __future__ import annotations

import json

import pytest

from agentkit.testing.replies import Call, Reply
from tests.agent.claude import talk
from tests.agent.conftest import campaign, lab  # noqa: F401 - fixtures


def script(by, words="done"):
    return [Reply("look", [Call("tiny__shift", {"by": by, "units": 2})]), Reply(words)]


@pytest.fixture
def store(lab, campaign, tmp_path):  # noqa: F811
    for id, by, words in (
        ("01A", 0.1, "done"),
        ("02SAME", 0.1, "done"),
        ("03ARGS", 0.2, "done"),
        ("04WORDS", 0.1, "ended"),
    ):
        with talk(lab, campaign, script(by, words), id=id) as (session, _):
            session.send("how far?")
    lab.close()
    return tmp_path / "lab.db"


def test_two_sessions_that_did_the_same_are_the_same(store, agentkit):
    code, out, err = agentkit("diff", "01A", "02SAME", "--store", store)
    assert code == 0, err
    assert "are the same" in out


def test_the_turn_the_place_and_both_values_are_named_where_they_part(store, agentkit):
    code, out, err = agentkit("diff", "01", "03", "--store", store, "--json")
    assert code == 1, err
    places = [(d["turn"], d["place"]) for d in json.loads(out)["differences"]]
    assert places[0] == (2, "calls")
    code, out, _ = agentkit("diff", "01", "04", "--store", store)
    assert code == 1
    assert "turn 3: says" in out
    assert "done" in out
    assert "ended" in out


def test_a_session_that_is_not_there_is_named_with_those_that_are(store, agentkit):
    code, _, err = agentkit("diff", "01A", "05", "--store", store)
    assert (code, "no session '05'" in err) == (2, True)
