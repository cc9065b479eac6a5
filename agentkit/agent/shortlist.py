"""Which perturbation tools a model is shown: those that the user's words are about, and those it has used.

Every request carries the schemas of what is bound, and a model pays for them by the token, so what is shown is limited.
The list is a pure function of the conversation up to what the user said last: it stays the same while the planner works
on that, so a provider's prompt cache holds, and a session that is resumed, forked or replayed has it again. The rest is
found with `status` (what: tools) and run with `explore`.
"""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware.types import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, HumanMessage

from agentkit.agent.names import from_wire, to_wire
from agentkit.agent.offline.ranking import best_of
from agentkit.agent.surface import cards_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.messages import BaseMessage

    from agentkit.agent.toolbox import Toolbox

MOST_TOOLS = 12
PARTS = re.compile(r"[.,;:?!\n]\s|\b(?:and|then|but|or)\b")


class Shortlist(AgentMiddleware[Any, Any, Any]):
    """Shows a model at most `MOST_TOOLS` perturbation tools, and every other call.

    A model that says `reads_every_tool` is shown all: it is asked for nothing by the token.
    """

    def __init__(self, toolbox: Toolbox) -> None:
        super().__init__()
        self._names = toolbox.tool_names
        self._cards = cards_of(toolbox)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Ask with the tools that are shown, in the order in which they were bound."""
        if len(self._names) <= MOST_TOOLS or getattr(request.model, "reads_every_tool", False):
            return handler(request)
        hidden = {to_wire(n) for n in set(self._names) - self.shown(request.messages)}
        kept = [t for t in request.tools if getattr(t, "name", None) not in hidden]
        return handler(request.override(tools=kept))

    def shown(self, messages: Sequence[BaseMessage]) -> set[str]:
        """Names of the perturbation tools that a model is shown after these messages."""
        said = [i for i, m in enumerate(messages) if isinstance(m, HumanMessage)]
        before = messages[: said[-1]] if said else []
        used = _used(before) & set(self._names)
        others = [n for n in self._ranked([str(messages[i].text) for i in reversed(said)]) if n not in used]
        return used | set(others[: max(0, MOST_TOOLS - len(used))])

    def _ranked(self, texts: Sequence[str]) -> list[str]:
        """All names: in turn the best of each text and of each of its parts, so that a second wish is not drowned."""
        parts = [part for text in texts for part in (text, *PARTS.split(text))]
        rows = zip_longest(*(best_of(self._cards, part) for part in dict.fromkeys(parts)))
        about = [name for row in rows for name in row if name is not None]
        return list(dict.fromkeys([*about, *self._names]))


def _used(messages: Sequence[BaseMessage]) -> set[str]:
    """Every tool that a call named, by itself or through another call."""
    calls = [c for m in messages if isinstance(m, AIMessage) for c in m.tool_calls]
    return {from_wire(c["name"]) for c in calls} | {str(c["args"].get("tool")) for c in calls}
