"""Why a gene was picked: rows for tables, and one sentence built from the same fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

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
    batch: Batch,
    picker: str,
    hits: Collection[str] | None = None,
    ratio: float | None = None,
    shown: int | None = None,
) -> str:
    """One round in plain text: what was picked and why, what was dropped, what was found.

    Args:
        batch: the round's picks.
        picker: who picked.
        hits: those of the picks that turned out to be hits; None before anybody knows.
        ratio: share of all hits found so far.
        shown: how many picks are written out; all of them unless said.
    """
    lines = [f"Round {batch.round}: {len(batch.picks)} genes by {picker}"]
    if hits is not None:
        lines.append(
            f"{len(hits)} hits in this batch"
            + ("" if ratio is None else f"; {ratio:.3f} of all hits found so far")
        )
    if any(p.components for p in batch.picks):
        lines.append(
            "Behind each part: the share of the library's genes that it ranks below this one, in per cent."
        )
    lines.append("")
    for pick in batch.picks[:shown]:
        lines += _pick_lines(pick, None if hits is None else pick.gene in hits)
    if shown is not None and len(batch.picks) > shown:
        lines.append(f"… {len(batch.picks) - shown} more, with their evidence in the run's files")
    if hits:
        lines += ["", "Hits: " + ", ".join(g for g in batch.genes if g in hits)]
    lines += [f"Not taken: {d}" for d in batch.dropped]
    if batch.note:
        lines.append(f"Note: {batch.note}")
    return "\n".join([*lines, ""])


def _pick_lines(pick: Pick, hit: bool | None) -> list[str]:
    """Position, gene, what it turned out to be, score and ranks on one line; sets and tested genes under it."""
    found = "" if hit is None else "hit" if hit else "-"
    ranks = "  ".join(f"{name} {100 * value:.1f}" for name, value in pick.components.items())
    lines = [f"{pick.position:4d}  {pick.gene:12s} {found:4s} score {pick.score:.3f}  {ranks}".rstrip()]
    if pick.sets:
        lines.append("      sets: " + "; ".join(name for name, _ in pick.sets))
    if pick.neighbours:
        lines.append("      like tested: " + ", ".join(name for name, _ in pick.neighbours))
    if pick.proposed:
        lines.append("      a proposer named it")
    return lines
