"""What a model's provider answered instead of words, in one line that ends in the next step."""

from __future__ import annotations

from agentkit.agent.planners import base_url

PACKAGES = ("anthropic", "openai", "httpx", "httpx2", "json", "langchain_anthropic")
SHOWN_CHARACTERS = 200


def is_of_provider(error: Exception) -> bool:
    """Whether an exception comes from the way to a model, not from our code."""
    return type(error).__module__.split(".")[0] in PACKAGES


def in_words(planner: str, error: Exception) -> str:
    """The line."""
    status = getattr(error, "status_code", None)
    head = f"HTTP {status}, " if status else ""
    said = " ".join(str(getattr(error, "message", "") or error).split())[:SHOWN_CHARACTERS]
    return f"planner {planner!r} failed: {head}{type(error).__name__}: {said}. {_next_step(error, status)}"


def _next_step(error: Exception, status: int | None) -> str:
    if status in (401, 403):
        return "The key was refused: check ANTHROPIC_API_KEY, or go on with the planner offline"
    if status == 404:
        return "Check the model's name after `anthropic:`, or go on with the planner offline"
    if status in (413, 400):
        return "The request was refused as it stands: say less, or start a new session"
    if status == 429:
        return "Too many requests: wait a minute and say it again"
    if status is not None and status >= 500:
        return "The service is busy or down: say it again in a while, or go on with the planner offline"
    if "Connect" in type(error).__name__ or "Timeout" in type(error).__name__:
        return f"{base_url() or 'The service'} cannot be reached: check the network, or go on with the planner offline"
    return "What was done is recorded; say it again to go on"
