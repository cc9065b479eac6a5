"""`agentkit mcp serve`: open a lab and serve its campaign on stdin and stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from agentkit.errors import MissingExtraError
from agentkit.study import BudgetSection, Study

if TYPE_CHECKING:
    from collections.abc import Sequence


def serve(
    store: str,
    *,
    campaign: str,
    workers: str,
    tools: Sequence[str] | None,
    budget: BudgetSection,
    allow_register: bool,
    modules: Sequence[str] = (),
) -> None:
    """Serve until the client hangs up; what happens is told on stderr, and stdout carries the protocol alone.

    Raises:
        MissingExtraError: the package `mcp` is absent.
        CampaignLockedError: another process drives the campaign.
    """
    try:
        import anyio

        from agentkit.mcp.server import build, new_session_id, serve_stdio
    except ModuleNotFoundError as error:
        if error.name not in ("mcp", "mcp_types", "anyio"):
            raise
        raise MissingExtraError(
            "serving MCP needs the package mcp: pip install 'agentkit-perturb[mcp]'"
        ) from None
    from agentkit.laboratory import Lab

    with Lab(store, workers=workers, notify=_say, modules=modules) as lab:
        plan = Study(goal="mcp", tools=None if tools is None else list(tools), budget=budget)
        for name in tools or ():
            lab.plugins.tool(name)
        toolbox = lab.toolbox(lab.open_campaign(campaign), session=new_session_id(), study=plan)
        _say(f"serving campaign {campaign!r} of {lab.ledger.url}: {len(toolbox.tool_names)} tools")
        try:
            anyio.run(serve_stdio, build(toolbox, allow_register=allow_register))
        finally:
            toolbox.stop()  # the client has hung up: nobody waits for what still runs


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - stderr; stdout is the protocol's
