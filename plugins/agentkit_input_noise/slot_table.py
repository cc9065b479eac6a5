"""Clean and noisy F1 of every single kind and mix, with intervals: the table of noisy slot filling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit import BASELINE
from agentkit_input_noise.curve_files import COLOURS, svg_figure, t_half_width

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit import Measurements

METRIC = "span_f1"


def rows_of(table: Measurements, strongest: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row a kind or mix: its strongest condition, F1 there and clean, and the paired loss; 95 % t intervals over units."""
    clean = table.column(METRIC, BASELINE)
    rows = []
    for kind, condition in strongest.items():
        noisy = table.column(METRIC, condition)
        cells = {"clean": clean, "noisy": noisy, "lost": clean - noisy}
        rows.append({
            "kind": kind, "condition": condition, "units": len(clean),
            **{name: float(column.mean()) for name, column in cells.items()},
            **{f"{name}_half_width_95": t_half_width(column) for name, column in cells.items()},
            "status": "descriptive: only a verdict is a finding",
        })  # fmt: skip
    return rows


def draw_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Clean and noisy F1 of every row with its interval, single kinds above mixes, as SVG text."""
    with svg_figure(1, panel=(5.6, 0.34 * len(rows) + 1.0)) as (panels, text):
        axes = panels[0]
        for name, colour, shift in (("clean", "0.5", -0.12), ("noisy", COLOURS[1], 0.12)):
            axes.errorbar(
                [row[name] for row in rows], [place + shift for place in range(len(rows))],
                xerr=[row[f"{name}_half_width_95"] for row in rows], fmt="o", ms=4, lw=1.2, color=colour,
                label=f"{name} (mean, 95 % over units)",
            )  # fmt: skip
        for place, row in enumerate(rows):
            axes.annotate(f"{row['noisy']:.2f}", (row["noisy"], place + 0.12), (0, -11), textcoords="offset points",
                          ha="center", fontsize=7)  # fmt: skip
        axes.set_yticks(range(len(rows)), [row["condition"] for row in rows], fontsize=8)
        axes.set(xlabel="span F1", xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
        axes.grid(axis="x", lw=0.4, color="0.9")
    return text.getvalue()
