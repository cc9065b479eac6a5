"""A Claude-style model on loopback for tests: the real client and SDK, scripted answers, prices that are known."""

from __future__ import annotations

from contextlib import contextmanager

from langchain_anthropic import ChatAnthropic

from agentkit.agent.prices import Price, Prices
from agentkit.agent.session import Options, PlannerSession
from agentkit.testing.anthropic_server import AnthropicServer

PRICES = Prices(
    "2026-01-01", {"claude-a": Price(3, 0.3, 3.75, 15), "claude-b": Price(1, 0.1, 1.25, 5)}, "tests"
)


@contextmanager
def talk(lab, campaign, script, *, study=None, id="01SESSION", model="claude-a", fallback=None, **options):
    """`session, server`: a session whose model is served by the script."""
    with AnthropicServer(script) as server:
        session = PlannerSession(
            chat(server, model),
            lab.toolbox(campaign, session=id, study=study),
            "You plan.",
            Options(
                planner=f"anthropic:{model}",
                prices=options.pop("prices", PRICES),
                fallbacks=[chat(server, fallback)] if fallback else [],
                **options,
            ),
        )
        yield session, server


def chat(server, model, **options) -> ChatAnthropic:
    options = {"max_retries": 1, "max_tokens": 1000, **options}
    return ChatAnthropic(model=model, base_url=server.url, api_key="none", **options)
