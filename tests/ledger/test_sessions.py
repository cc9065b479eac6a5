"""Conversations: content is kept once, nothing is lost when a process dies, and an edited message is named."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from agentkit.errors import LedgerError, VerificationError
from agentkit.ledger import Ledger, rules
from agentkit.ledger.session import MESSAGE, Session
from agentkit.ledger.session_values import Message, TurnEnd
from agentkit.ledger.sessions import find_session, list_sessions, open_session


def opened(campaign, id="01A", **changes) -> Session:
    values = {"planner": "offline", "prompt": "plan@v1", "prompt_sha256": "ab", "tools": ["explore"]}
    return open_session(campaign, id, **{**values, "environment": {"python": "3"}, **changes})


def said(*words: str) -> list[tuple[str, Message]]:
    chain, parent = [], None
    for i, word in enumerate(words):
        message = Message("human" if i % 2 == 0 else "ai", {"content": word}, {"place": i})
        parent = message.hash_after(parent)
        chain.append((parent, message))
    return chain


def turn(session: Session, chain, answer: str | None, **end) -> str:
    id = session.begin_turn(chain, "offline")
    reply = None if answer is None else Message("ai", {"content": answer}, {})
    return session.end_turn(id, chain[-1][0], TurnEnd(reply, **end), [("usd", end.get("usd") or 0.0, "t")])


def test_a_chain_comes_back_as_it_was_said(campaign):
    session = opened(campaign)
    chain = said("go")
    tip = turn(session, chain, "what?")
    longer = [*chain, *session.chain(tip)[1:], *said("x")]
    assert [m.parts["content"] for _, m in session.chain(tip)] == ["go", "what?"]
    assert session.chain(tip)[0][1].meta == {"place": 0}
    assert session.tip() == tip
    assert session.chain(None) == []
    assert len(longer) == 3


def test_a_message_is_stored_once_however_often_it_is_sent(campaign, ledger):
    session = opened(campaign)
    chain = said("go", "why", "because")
    for _ in range(5):
        turn(session, chain, "done")
    again = find_session(campaign, "01A")
    turn(again, chain, "done")
    with ledger.store.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(MESSAGE)).scalar_one() == 4
    assert [t.ordinal for t in session.turns()] == [1, 2, 3, 4, 5, 6]


def test_a_turn_that_was_cut_off_or_failed_shows_and_the_tip_stays(campaign):
    session = opened(campaign)
    chain = said("go")
    turn(session, chain, None, error="overloaded " * 100)
    session.begin_turn(chain, "offline")
    failed, cut = session.turns()
    assert (failed.ended, failed.tip, cut.ended, cut.usd) == (True, None, False, None)
    assert len(failed.error) == 300
    assert session.tip() == chain[-1][0]


def test_the_first_decision_and_the_first_end_of_a_call_stay(campaign):
    session = opened(campaign)
    call = session.begin_call(
        "c1", "explore", {"units": 4}, "aa", decision="edited", edited={"units": 2}, decided_by="me"
    )
    assert session.begin_call("c1", "explore", {"units": 9}, "bb") == call
    assert session.calls()["c1"].status is None
    session.end_call(call, "ok", "cc", run="R1", spent=[("runs", 1, "R1")])
    session.end_call(call, "error", "dd")
    kept = session.calls()["c1"]
    assert (kept.args, kept.edited, kept.decision) == ({"units": 4}, {"units": 2}, "edited")
    assert (kept.status, kept.run, kept.content_sha256) == ("ok", "R1", "cc")
    assert session.spent() == {"runs": 1.0}


def test_a_fork_shares_its_past_and_goes_its_own_way(campaign):
    session = opened(campaign)
    first = turn(session, said("go"), "one")
    turn(session, [*session.chain(first), *_next(first, "more")], "two")
    fork = opened(campaign, "01B", parent=session, parent_tip=first)
    assert fork.tip() == first
    assert [m.parts["content"] for _, m in fork.chain(fork.tip())] == ["go", "one"]
    turn(fork, [*fork.chain(first), *_next(first, "other")], "three")
    assert [m.parts["content"] for _, m in fork.chain(fork.tip())] == ["go", "one", "other", "three"]
    assert len(session.turns()) == 2


def _next(parent: str, word: str):
    message = Message("human", {"content": word}, {})
    return [(message.hash_after(parent), message)]


def test_sessions_are_found_by_a_beginning_that_fits_one(campaign):
    opened(campaign, "01AB")
    opened(campaign, "01AC")
    assert find_session(campaign, "01AB").id == "01AB"
    with pytest.raises(LedgerError, match="fits 2 sessions"):
        find_session(campaign, "01A")
    with pytest.raises(LedgerError, match="no session '02'"):
        find_session(campaign, "02")
    assert [(s["id"], s["turns"], s["campaign"]) for s in list_sessions(campaign.ledger.store)] == [
        ("01AB", 0, "tokens"),
        ("01AC", 0, "tokens"),
    ]


def test_a_session_of_another_campaign_is_refused(campaign, ledger):
    opened(campaign)
    with pytest.raises(LedgerError, match="another campaign"):
        opened(ledger.campaign("other"))


def test_verify_names_a_message_that_was_edited(path):
    with Ledger(path) as ledger:
        session = opened(ledger.campaign("tokens"))
        turn(session, said("go"), "done")
        ledger.verify()
        with ledger.store.write() as connection:
            connection.exec_driver_sql("DROP TRIGGER ak003_message_update")
            connection.exec_driver_sql(
                "UPDATE message SET parts_json = '{\"content\": \"stop\"}' WHERE role = 'human'"
            )
            rules.install(connection)
        with pytest.raises(VerificationError, match=r"message .* is not what was recorded"):
            ledger.verify()


@pytest.mark.parametrize(
    ("table", "statement", "named"),
    [
        ("tool_call", "UPDATE tool_call SET args_json = '{\"units\": 80}'", "call c1: it is not what the planner asked for"),
        ("turn", "UPDATE turn SET ordinal = 7 WHERE ordinal = 2", "turn 7: turn 2 is missing"),
        (
            "turn",
            "UPDATE turn SET request_tip = (SELECT tip FROM turn_end WHERE turn = 2) WHERE id = 1",
            "turn 1: its answer does not follow what was asked",
        ),
    ],
)  # fmt: skip
def test_verify_names_a_turn_or_a_call_that_was_edited(path, table, statement, named):
    with Ledger(path) as ledger:
        session = opened(ledger.campaign("tokens"))
        begun = session.begin_turn(said("go"), "offline")
        call = {"name": "run_batch", "args": {"units": 8}, "id": "c1"}
        answer = Message("ai", {"content": "", "tool_calls": [call]}, {})
        session.end_turn(begun, said("go")[-1][0], TurnEnd(answer), [])
        row = session.begin_call("c1", "run_batch", {"units": 8}, "ab", turn=begun)
        session.end_call(row, "ok", "cd")
        turn(session, said("go", "on"), "done")
        ledger.verify()
        with ledger.store.write() as connection:
            connection.exec_driver_sql(f"DROP TRIGGER ak003_{table}_update")
            connection.exec_driver_sql(statement)
            rules.install(connection)
        with pytest.raises(VerificationError, match=named):
            ledger.verify()


def test_an_export_holds_the_conversations_and_what_they_cost(path, tmp_path):
    with Ledger(path) as ledger:
        session = opened(ledger.campaign("tokens"))
        turn(session, said("go"), "done", usd=0.25)
        ledger.export(tmp_path / "crate")
    for name, rows in {
        "message": 2,
        "session": 1,
        "turn": 1,
        "turn_end": 1,
        "spend": 1,
        "tool_call": 0,
    }.items():
        assert len((tmp_path / "crate" / "tables" / f"{name}.jsonl").read_text().splitlines()) == rows, name
