"""A session as Markdown: what was said, called and answered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from agentkit.agent.names import from_wire

if TYPE_CHECKING:
    from pathlib import Path

    from agentkit.agent.session import PlannerSession

MOST_CHARACTERS = 2000


def write_transcript(session: PlannerSession, path: Path) -> Path:
    """Write it and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(transcript(session), encoding="utf-8")
    return path


def transcript(session: PlannerSession) -> str:
    """The text."""
    record = session.record
    parts = [f"# Session {record.id}", f"Campaign {record.campaign.key}, planner {record.planner}."]
    for message in session.messages():
        if isinstance(message, HumanMessage):
            parts.append(f"**you** {message.text}")
        elif isinstance(message, AIMessage):
            parts += [str(message.text)] if str(message.text).strip() else []
            parts += [
                _code(f"{from_wire(c['name'])} {json.dumps(c['args'], ensure_ascii=False)}")
                for c in message.tool_calls
            ]
        elif isinstance(message, ToolMessage):
            parts.append(_code(str(message.content)[:MOST_CHARACTERS]))
    return "\n\n".join(parts) + "\n"


def _code(text: str) -> str:
    return f"```\n{text.replace('```', '` ` `')}\n```"
