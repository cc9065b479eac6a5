"""The verdict table as rows for a program and as text for a terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from agentkit.report.claims import claim_line, numbers_in_words, sentence, where_line
from agentkit.report.document import plain, shown
from agentkit.report.facts import read_findings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.ledger import Campaign
    from agentkit.report.facts import Finding

WIDTH = 100
RIGHT = frozenset({2, 3, 4, 5})
"""Columns of numbers."""


def verdict_table(campaign: Campaign) -> list[dict[str, Any]]:
    """One row per frozen hypothesis, in order of registration, with plain values only.

    Keys: `verdict` (the id to cite), `hypothesis`, `claim`, `sentence`, `where`, `tool`, `metric`, `null`, `sesoi`,
    `units`, `max_units`, `failed`, `estimate`, `lo`, `hi`, `level`, `log_e`, `k_star`, `label`, `reason`, `state`.
    """
    return [_row(finding) for finding in read_findings(campaign)]


def render_table(rows: Sequence[Mapping[str, Any]], width: int = WIDTH) -> str:
    """Rows of `verdict_table` as text: a line of figures per verdict, its claim below, wrapped to `width` characters."""
    if not rows:
        return "No hypothesis is registered in this campaign."
    head = ("verdict", "label", "estimate", "interval", "n", "failed", "reason")
    cells = [_cells(row) for row in rows]
    sizes = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
    lines = [_line(head, sizes)]
    indent = " " * (sizes[0] + 2)
    for row, line in zip(rows, cells, strict=True):
        claim = textwrap.wrap(shown(row["claim"]), max(width - len(indent), 24), break_on_hyphens=False)
        lines += [_line(line, sizes), *(f"{indent}{part}" for part in claim)]
    return "\n".join(lines)


def _row(finding: Finding) -> dict[str, Any]:
    same = (
        "tool", "metric", "null", "sesoi", "units", "max_units", "failed", "estimate", "lo", "hi", "level",
        "log_e", "k_star", "label", "reason", "state",
    )  # fmt: skip
    return {
        "verdict": finding.ref,
        "hypothesis": finding.ref,
        "claim": plain(claim_line(finding)),
        "where": plain(where_line(finding)),
        "sentence": plain(sentence(finding)),
        **{name: getattr(finding, name) for name in same},
    }


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    estimate, ends = numbers_in_words(
        row["estimate"], row["lo"], row["hi"], null=row["null"], sesoi=row["sesoi"], label=row["label"]
    )
    counts = str(row["units"]), str(row["failed"])
    return row["verdict"], row["label"], estimate, ends, *counts, row["reason"].replace("_", " ")


def _line(cells: Sequence[str], sizes: Sequence[int]) -> str:
    """Cells in columns, numbers flush right."""
    padded = [
        c.rjust(s) if i in RIGHT else c.ljust(s) for i, (c, s) in enumerate(zip(cells, sizes, strict=True))
    ]
    return "  ".join(padded).rstrip()
