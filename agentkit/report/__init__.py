"""Reports: a campaign of the ledger as Markdown, as one self-contained page, and as a table for the terminal."""

from __future__ import annotations

from agentkit.report.strict import uncited_claims
from agentkit.report.table import render_table, verdict_table
from agentkit.report.write import ReportPaths, write_report

__all__ = ["ReportPaths", "render_table", "uncited_claims", "verdict_table", "write_report"]
