"""`agentkit diff A B`: two recorded sessions side by side: prompts, what was called with what, and the verdicts."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from agentkit.cli.output import emit

if TYPE_CHECKING:
    from agentkit.ledger.session import Session

SHOWN_CHARACTERS = 120


def diff_sessions(store: str, a: str, b: str, *, other_store: str | None, as_json: bool) -> bool:
    """Print where two sessions part; whether they are the same."""
    from agentkit.ledger import Ledger
    from agentkit.ledger.sessions import find_stored

    with Ledger(store, readonly=True) as ledger:
        one = _told(find_stored(ledger, a))
        if other_store is None:
            other = _told(find_stored(ledger, b))
        else:
            with Ledger(other_store, readonly=True) as second:
                other = _told(find_stored(second, b))
    turns = [
        {"turn": i + 1, "place": place, a: then, b: now}
        for i in range(max(len(one["turns"]), len(other["turns"])))
        for place, then, now in _turn_differences(_at(one["turns"], i), _at(other["turns"], i))
    ]
    heads = [
        {"turn": None, "place": place, a: one[place], b: other[place]}
        for place in ("planner", "prompt", "tools", "verdicts")
        if one[place] != other[place]
    ]
    found = {"a": one["id"], "b": other["id"], "same": not (heads or turns), "differences": [*heads, *turns]}
    emit(found, _text(found, a, b), as_json=as_json)
    return bool(found["same"])


def _told(session: Session) -> dict[str, Any]:
    """What may differ between two sessions; times, costs and call ids always do and are left out."""
    verdicts = {v.ref: [v.label, v.estimate, v.lo, v.hi, v.units] for v in session.campaign.verdicts()}
    turns: list[dict[str, Any]] = []
    for _, message in session.chain(session.tip()):
        content = message.parts
        if message.role == "ai":
            calls = [[c["name"], c["args"]] for c in content.get("tool_calls") or []]
            turns.append({"says": _plain(content.get("content")), "calls": calls, "answers": []})
        elif message.role == "tool" and turns:
            turns[-1]["answers"].append(_plain(content.get("content")))
        elif message.role == "human":
            turns.append({"user": _plain(content.get("content")), "says": "", "calls": [], "answers": []})
    return {
        "id": session.id,
        "planner": session.planner,
        "prompt": f"{session.prompt} {session.prompt_sha256[:12]}",
        "tools": session.tools_sha256[:12],
        "verdicts": verdicts,
        "turns": turns,
    }


def _plain(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in content)
    return str(content or "")


def _at(turns: list[dict[str, Any]], index: int) -> dict[str, Any] | None:
    return turns[index] if index < len(turns) else None


def _turn_differences(one: dict[str, Any] | None, other: dict[str, Any] | None) -> list[tuple[str, Any, Any]]:
    if one is None or other is None:
        return [
            ("turn", "absent" if one is None else _short(one), "absent" if other is None else _short(other))
        ]
    places = ("user", "says", "calls", "answers")
    return [(p, one.get(p), other.get(p)) for p in places if one.get(p) != other.get(p)]


def _short(turn: dict[str, Any]) -> Any:
    return turn.get("user") or turn["calls"] or turn["says"]


def _text(found: dict[str, Any], a: str, b: str) -> str:
    if found["same"]:
        return f"{found['a']} and {found['b']} are the same: prompts, calls, answers and verdicts"
    lines = []
    for row in found["differences"]:
        place = f"turn {row['turn']}: {row['place']}" if row["turn"] else row["place"]
        lines += [
            place,
            *(f"  {name}  {text}" for name, text in zip((a, b), _around(row[a], row[b]), strict=True)),
        ]
    return "\n".join(lines)


def _around(one: Any, other: Any) -> tuple[str, str]:
    """Both values, cut to where they part."""
    first, second = str(one), str(other)
    match = difflib.SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()[0]
    start = max(0, match.size - 40) if match.a == match.b == 0 else 0
    return tuple(("…" if start else "") + t[start : start + SHOWN_CHARACTERS] for t in (first, second))  # type: ignore[return-value]
