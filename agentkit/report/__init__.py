"""Reports: a campaign of the ledger as Markdown, as one self-contained page, and as a table for the terminal.

What is named here is imported when it is first used: a chat shows numbers as reports do, and draws nothing at its start.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentkit.report.strict import uncited_claims
    from agentkit.report.table import render_table, verdict_table
    from agentkit.report.write import ReportPaths, write_report

__all__ = ["ReportPaths", "render_table", "uncited_claims", "verdict_table", "write_report"]
_HOMES = {
    "ReportPaths": "write",
    "render_table": "table",
    "uncited_claims": "strict",
    "verdict_table": "table",
    "write_report": "write",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
