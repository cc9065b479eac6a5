"""`agentkit fork`: one row in the ledger, and a new session that shares the past of an old one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentkit.agent.opening import new_session_id
from agentkit.cli.output import emit
from agentkit.errors import ConfigError
from agentkit.ledger import Ledger
from agentkit.ledger.sessions import find_stored
from agentkit.ledger.sessions import fork_session as forked

if TYPE_CHECKING:
    from agentkit.ledger.session import Session


def fork_session(store: str, id: str, at: int | None, *, as_json: bool) -> None:
    """Fork at the answer of the planner's turn `at`, the newest unless said."""
    with Ledger(store) as ledger:
        session = find_stored(ledger, id)
        new = forked(session, new_session_id(), _tip(session, at))
    text = f"{new.id} forked from {session.id}; go on with: agentkit chat --session {new.id} --store {store}"
    emit({"session": new.id, "parent": session.id, "at": at}, text, as_json=as_json)


def _tip(session: Session, at: int | None) -> str | None:
    answered = {t.ordinal: t.tip for t in session.turns() if t.tip is not None}
    if at is None:
        return session.tip()
    if at not in answered:
        raise ConfigError(f"session {session.id} has no answered turn {at}; it has {sorted(answered)}")
    return answered[at]
