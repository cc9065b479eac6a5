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


def verdict_table(campaign: Campaign) -> list[dict[str, Any]]:
    """One row per frozen hypothesis, in order of registration, with plain values only.

    Keys: `verdict` (the id to cite), `hypothesis`, `claim`, `sentence`, `where`, `tool`, `metric`, `null`, `sesoi`,
    `units`, `max_units`, `failed`, `estimate`, `lo`, `hi`, `level`, `log_e`, `k_star`, `label`, `reason`, `state`.
    """
    return [_row(finding) for finding in read_findings(campaign)]


def render_table(rows: Sequence[Mapping[str, Any]], width: int = WIDTH) -> str:
    """Rows of `verdict_table` as text: numbers in columns, the claim wrapped to `width` characters at the end."""
    if not rows:
        return "No hypothesis is registered in this campaign."
    head = ("verdict", "label", "estimate", "interval", "n", "claim")
    cells = [_cells(row) for row in rows]
    sizes = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head) - 1)]
    lines = [_line(head, sizes, width), *(_line(line, sizes, width) for line in cells)]
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
    label = row["label"] if row["reason"] in ("decided", "undecided") else f"{row['label']} ({row['reason']})"
    units = f"{row['units']}" + (f" ({row['failed']} failed)" if row["failed"] else "")
    return row["verdict"], label, estimate, ends, units, shown(row["claim"])


def _line(cells: Sequence[str], sizes: Sequence[int], width: int) -> str:
    """One row; a claim that does not fit goes on under itself."""
    right = {2, 4}
    head = "  ".join(
        cell.rjust(size) if i in right else cell.ljust(size)
        for i, (cell, size) in enumerate(zip(cells, sizes, strict=False))
    )
    room = max(width - len(head) - 2, 24)
    claim = textwrap.wrap(cells[-1], room, break_on_hyphens=False) or [""]
    return f"\n{' ' * (len(head) + 2)}".join([f"{head}  {claim[0]}", *claim[1:]])
