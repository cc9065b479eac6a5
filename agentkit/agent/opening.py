"""Opening a session's record: made, found again, or refused because tools, prompt or versions were others then."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from agentkit.canon import clean
from agentkit.errors import ConfigError
from agentkit.ledger.sessions import open_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.tools import BaseTool

    from agentkit.agent.toolbox import Toolbox
    from agentkit.ledger.session import Session

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_session_id() -> str:
    """An id that sorts by time: 26 characters of base 32."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return "".join(DIGITS[(number >> 5 * i) & 31] for i in reversed(range(26)))


def described(tool: BaseTool) -> dict[str, Any]:
    """What a planner is told about a tool."""
    schema = tool.args_schema if isinstance(tool.args_schema, dict) else {}
    return {"name": tool.name, "description": tool.description, "parameters": clean(schema)}


class Opening:
    """Who opens a session, with what: compared with the record of one that is there already.

    Args:
        toolbox: its session is the id.
        tools: as they are bound.
        planner: the name under which the model is recorded.
        prompt: `name@version` and hash of the system prompt's template.
    """

    def __init__(
        self, toolbox: Toolbox, tools: Sequence[BaseTool], planner: str, prompt: tuple[str, str]
    ) -> None:
        self._toolbox, self._planner, self._prompt = toolbox, planner, prompt
        self._tools = [described(t) for t in tools]

    def opened(self, *, accept_changes: bool) -> Session:
        """The session of the toolbox.

        Raises:
            ConfigError: it was recorded with other tools, another prompt or other versions.
        """
        session = self.row(self._toolbox.session)
        if not accept_changes and (differences := self._differences(session)):
            raise ConfigError(
                f"session {session.id} was recorded otherwise: {'; '.join(differences)}. "
                "Start a new session, or accept the changes to go on"
            )
        return session

    def row(self, id: str, parent: Session | None = None, parent_tip: str | None = None) -> Session:
        """The session `id`, made when it is not there."""
        name, sha256 = self._prompt
        return open_session(
            self._toolbox.campaign,
            id,
            planner=self._planner,
            prompt=name,
            prompt_sha256=sha256,
            tools=self._tools,
            environment=self._environment(),
            parent=parent,
            parent_tip=parent_tip,
        )

    def _environment(self) -> dict[str, Any]:
        return {
            "plugins": {p.name: [p.distribution, p.version] for p in self._toolbox.plugins.plugins},
            "tools": {n: self._toolbox.plugins.tool(n).version for n in self._toolbox.tool_names},
        }

    def _differences(self, session: Session) -> list[str]:
        found = []
        if (session.prompt, session.prompt_sha256) != self._prompt:
            found.append(f"prompt {session.prompt} then, {self._prompt[0]} now")
        then, now = session.content(session.environment_sha256), self._environment()
        for kind in ("plugins", "tools"):
            changed = (n for n in sorted({*then[kind], *now[kind]}) if then[kind].get(n) != now[kind].get(n))
            found += [
                f"{kind[:-1]} {n}: {then[kind].get(n, 'absent')} then, {now[kind].get(n, 'absent')} now"
                for n in changed
            ]
        if not found and session.content(session.tools_sha256) != self._tools:
            found.append("the tools' descriptions have changed")
        return found
