"""From a planner's name to a chat model. Never a silent switch: a named planner that fails says how to mend it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from agentkit.errors import PlannerError, unknown

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from agentkit.plugins import Plugins

BUILT_IN = ("offline", "anthropic")


def chat_model(name: str, plugins: Plugins) -> BaseChatModel:
    """The chat model behind `offline`, `anthropic:MODEL`, or the prefix of an installed planner.

    Raises:
        PlannerError: unknown prefix (near names), no model named, no key.
    """
    prefix, _, rest = name.partition(":")
    if prefix == "offline":
        from agentkit.agent.offline.model import OfflinePlanner

        return OfflinePlanner()
    if prefix == "anthropic":
        return _anthropic(rest)
    if prefix in plugins.planners:
        model: Any = plugins.planners[prefix](rest)
        return model  # type: ignore[no-any-return]
    raise PlannerError(unknown("planner", prefix, [*BUILT_IN, *plugins.planners]))


def _anthropic(model: str) -> BaseChatModel:
    if not model:
        raise PlannerError("planner 'anthropic' needs a model; write anthropic:MODEL")
    if not os.environ.get("ANTHROPIC_API_KEY"):
        raise PlannerError(
            "planner 'anthropic' needs ANTHROPIC_API_KEY in the environment; or use planner: offline"
        )
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model=model, max_retries=3)
