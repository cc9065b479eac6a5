"""What was explored as a small table: conditions by metrics, differences to baseline with their standard errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from agentkit.cli.chat.numbers import seconds, shown, signed, spark

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_ROWS = 8
COLUMN = 16
CLEAR = 3.0
"""Standard errors beyond which a difference is printed in colour. It chooses colours and nothing else."""


def explored_table(data: Mapping[str, Any], width: int) -> Iterator[Any]:
    """Lines to print, for an answer of `explore`."""
    metrics: Mapping[str, Any] = data["metrics"]
    head = Text(f"  {data['run']}", "bold").append(f"  {data['tool']}, {data['units']} units")
    head.append(f", {seconds(data['seconds'])}", "dim").append("  exploratory, never evidence", "italic dim")
    if data.get("failed"):
        head.append(f"  {data['failed']} units failed", "yellow")
    yield head
    shown_metrics = [m for m in metrics if metrics[m]["conditions"]]
    if not shown_metrics:
        read = [f"{m} {shown(t['baseline'])}" for m, t in metrics.items() if t["baseline"] is not None]
        yield Text(f"  {', '.join(read) or 'nothing was measured'}")
        return
    fit = max(1, (width - 28) // COLUMN)
    first = metrics[shown_metrics[0]]
    rows = _rows(first)
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("  minus baseline", no_wrap=True, max_width=28)
    for metric in shown_metrics[:fit]:
        table.add_column(metric, justify="right", no_wrap=True)
    base = [Text(shown(metrics[m]["baseline"]), "dim") for m in shown_metrics[:fit]]
    table.add_row(Text("  (baseline)", "dim"), *base)
    for condition in rows:
        table.add_row(f"  {condition}", *(_cell(metrics[m], condition) for m in shown_metrics[:fit]))
    yield table
    more = len(first["conditions"]) - len(rows) + first["not_shown"]
    notes = [f"{more} more conditions, less clear"] if more else []
    if len(shown_metrics) > fit:
        notes.append(f"also measured: {', '.join(shown_metrics[fit:])}")
    if curve := _curve(first):
        notes.append(f"{shown_metrics[0]} {curve}")
    if notes:
        yield Text(f"  {'; '.join(notes)}", "dim")


def _rows(metric: Mapping[str, Any]) -> list[str]:
    """All conditions in the tool's order, or the clearest ones of many, clearest first."""
    names = list(metric["conditions"])
    if len(names) <= MOST_ROWS:
        return names
    doubt = dict(zip(names, metric["se"], strict=True))
    mean = dict(zip(names, metric["mean"], strict=True))
    return sorted(names, key=lambda n: -abs(mean[n]) / (doubt[n] + 1e-9))[:MOST_ROWS]


def _cell(metric: Mapping[str, Any], condition: str) -> Text:
    if condition not in metric["conditions"]:
        return Text("–", "dim")
    i = metric["conditions"].index(condition)
    mean, se = metric["mean"][i], metric["se"][i]
    clear = abs(mean) > CLEAR * se and mean != 0
    better = (mean > 0) == metric["higher_is_better"]
    return Text(signed(mean, se), ("green" if better else "red") if clear else "")


def _curve(metric: Mapping[str, Any]) -> str:
    """A dose-response curve in one line, where conditions are one name at four or more values."""
    pairs = [c.partition("=") for c in metric["conditions"]]
    try:
        doses = sorted((float(v), m) for (_, _, v), m in zip(pairs, metric["mean"], strict=True))
    except ValueError:
        return ""
    if len({name for name, _, _ in pairs}) != 1 or len(doses) < 4:
        return ""
    return f"{spark([m for _, m in doses])} over {pairs[0][0]} {doses[0][0]:g} to {doses[-1][0]:g}"
