"""From a planner's name to a chat model. Never a silent switch: a named planner that fails says how to mend it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from agentkit.agent.prices import load_prices
from agentkit.errors import ConfigError, PlannerError, unknown

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from agentkit.plugins import Plugins

BUILT_IN = ("offline", "anthropic")
MAX_RETRIES = 3
"""The SDK's own, with the server's `retry-after`; nothing above it repeats what it repeats."""
MAX_TOKENS = 4096
"""Of one answer: a planner's words are few, and what one answer may cost is reserved before it is asked for."""
TIMEOUT_S = 600.0
LOCAL_KEY = "none"
"""Sent to a local server that asks for no key."""


def chosen_planner(named: str | None = None) -> tuple[str, str]:
    """The planner that is meant, and why: the one named, else what the environment says, else `offline`.

    Order: AGENTKIT_PLANNER, ANTHROPIC_API_KEY, AGENTKIT_BASE_URL. Which model of Anthropic's stands in the dated price file.
    """
    said = os.environ.get("AGENTKIT_PLANNER")
    if named not in (None, "", "auto", said):
        return str(named), "asked for"
    if said not in (None, "", "auto"):
        return str(said), "AGENTKIT_PLANNER is set"
    if os.environ.get("ANTHROPIC_API_KEY"):
        return f"anthropic:{load_prices().default_model}", "ANTHROPIC_API_KEY is set"
    if os.environ.get("AGENTKIT_BASE_URL"):
        return "anthropic:local", "AGENTKIT_BASE_URL is set"
    return "offline", "no key is set"


def chat_model(name: str, plugins: Plugins) -> BaseChatModel:
    """The chat model behind `offline`, `anthropic:MODEL`, or the prefix of an installed planner.

    A base URL in ANTHROPIC_BASE_URL or AGENTKIT_BASE_URL sends `anthropic:MODEL` to that server.

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


def base_url() -> str | None:
    """The server named by the environment, or None for the provider's own."""
    url = os.environ.get("AGENTKIT_BASE_URL") or os.environ.get("ANTHROPIC_BASE_URL") or None
    if url is not None and not url.startswith(("http://", "https://")):
        raise ConfigError(f"base URL {url[:100]!r} must begin with http:// or https://")
    return url


def _anthropic(model: str) -> BaseChatModel:
    if not model:
        raise PlannerError("planner 'anthropic' needs a model; write anthropic:MODEL")
    url = base_url()
    key = os.environ.get("ANTHROPIC_API_KEY")
    if not key and url is None:
        raise PlannerError(
            "planner 'anthropic' needs ANTHROPIC_API_KEY in the environment (or AGENTKIT_BASE_URL of a local "
            "server that needs none); or use planner: offline"
        )
    from langchain_anthropic import ChatAnthropic

    options: dict[str, Any] = {"base_url": url} if url else {}
    return ChatAnthropic(
        model=model,
        api_key=key or LOCAL_KEY,
        max_retries=MAX_RETRIES,
        max_tokens=MAX_TOKENS,
        default_request_timeout=TIMEOUT_S,
        **options,
    )
