"""Why a gene was picked: rows for tables, and one sentence built from the same fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit_gene.loop.closed_loop import Batch, Pick


def pick_row(pick: Pick) -> dict[str, Any]:
    """A flat row: names are joined by `; `, so that any spreadsheet opens it."""
    return {
        "position": pick.position,
        "gene": pick.gene,
        "score": pick.score,
        **{f"rank_{name}": value for name, value in pick.components.items()},
        "sets": "; ".join(name for name, _ in pick.sets),
        "neighbours": "; ".join(name for name, _ in pick.neighbours),
        "proposed": int(pick.proposed),
    }


def table(batch: Batch, picker: str) -> list[dict[str, Any]]:
    """The batch as rows, each with its sentence."""
    count = len(batch.picks)
    return [{**pick_row(p), "evidence": sentence(p, count, picker)} for p in batch.picks]


def sentence(pick: Pick, count: int, picker: str) -> str:
    """The evidence in words: position, score, where each component ranked it, sets, tested neighbours, proposer."""
    parts = [f"{pick.gene} is pick {pick.position} of {count} by {picker} (score {pick.score:.3f})"]
    if ranks := _strongest(pick):
        parts.append("it ranks " + ", ".join(_standing(n, v) for n, v in ranks))
    if pick.sets:
        parts.append("gene sets that spoke for it: " + ", ".join(name for name, _ in pick.sets))
    if pick.neighbours:
        parts.append("tested hits or near hits like it: " + ", ".join(name for name, _ in pick.neighbours))
    if pick.proposed:
        parts.append("a proposer named it")
    return "; ".join(parts) + "."


def _strongest(pick: Pick) -> list[tuple[str, float]]:
    return sorted(
        pick.components.items(), key=lambda item: (-item[1] * pick.weights.get(item[0], 1.0), item[0])
    )


def _standing(name: str, rank: float) -> str:
    """`top 0.4 % by trees`; ranks are shares of genes below."""
    above = 100 * (1 - rank)
    return f"top {above:.1f} % by {name}" if above <= 50 else f"bottom {100 - above:.1f} % by {name}"


def round_page(
    batch: Batch, picker: str, hits: Sequence[str] | None, ratio: float | None, shown: int = 10
) -> str:
    """One round in plain text: what was picked and why, what was dropped, what was found."""
    lines = [f"## Round {batch.round}: {len(batch.picks)} genes by {picker}", ""]
    if ratio is not None and hits is not None:
        lines += [f"{len(hits)} hits in this batch; {ratio:.3f} of all hits found so far.", ""]
    lines += [f"- {sentence(p, len(batch.picks), picker)}" for p in batch.picks[:shown]]
    if len(batch.picks) > shown:
        lines.append(f"- … {len(batch.picks) - shown} more, in the table")
    lines += [f"- not taken: {d}" for d in batch.dropped]
    if batch.note:
        lines.append(f"- note: {batch.note}")
    return "\n".join([*lines, ""])
