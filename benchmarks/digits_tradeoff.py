"""What guidance with attention heads buys and costs on digits-dit: judge against Frechet distance, by strength.

    python benchmarks/digits_tradeoff.py [--units 10] [--n 240] [--hunted "L1.H0 L4.H1 …"] [--picture FILE]

Compared with no guidance: the hunted heads and a whole layer at three strengths, a fresh random set of as many
heads in every unit, and classifier-free guidance. There is no bar on quality: the table is the result.
Differences are paired over units, with 95 % intervals of Student's t.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from agentkit import Lab
from agentkit_attention.pictures import trade_off

if TYPE_CHECKING:
    from agentkit import Measurements

METRICS = ("judge", "objective", "precision", "recall", "fd")
HUNTED = "L1.H0 L4.H1 L2.H2 L3.H0 L4.H5 L4.H0"


def rows(table: Measurements) -> list[str]:
    """One line per condition: mean change of each metric and its interval."""
    lines = []
    for condition in table.conditions[1:]:
        cells = []
        for metric in (m for m in METRICS if m in table.metrics):
            d = table.column(metric, condition) - table.column(metric, "baseline")
            half = student.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5 if len(d) > 1 else np.nan
            cells.append(f"{metric} {d.mean():+.3f}±{half:.3f}")
        lines.append(f"{condition:14} " + "  ".join(cells))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--units", type=int, default=10)
    parser.add_argument("--n", type=int, default=240)
    parser.add_argument("--hunted", default=HUNTED)
    parser.add_argument("--picture")
    asked = parser.parse_args()
    heads = asked.hunted.split()
    with tempfile.TemporaryDirectory() as folder, Lab(f"{folder}/tradeoff.db", workers="inline") as lab:
        campaign = lab.campaign("tradeoff", seed=1)
        table = lab.explore(
            "attention.guide", units=asked.units, campaign=campaign, n=asked.n, u=(0.25, 0.5, 1.0),
            sets={"hunted": heads, "layer 2": ["L2.*"]}, random_k=len(heads),
        )  # fmt: skip
        free = {
            scale: lab.explore(
                "attention.guide", units=asked.units, campaign=campaign, n=asked.n, cfg=scale, w=0.0,
                labels=tuple(range(10)), sets={"unused": heads[:1]},
            )
            for scale in (0.0, 1.5)
        }  # fmt: skip
    for metric in (m for m in METRICS if m in table.metrics):
        print(f"no guidance: {metric} {table.column(metric, 'baseline').mean():.3f}")
    print("\n".join(rows(table)))
    for scale, run in free.items():  # other units: not paired with the table above
        shown = "  ".join(f"{m} {run.column(m, 'baseline').mean():.3f}" for m in METRICS if m in run.metrics)
        print(f"with labels, classifier-free guidance {scale:g}: {shown}")
    print(f"{asked.units} units of {asked.n} samples; random sets drawn: {asked.units}")
    if asked.picture:
        trade_off(table).savefig(asked.picture, dpi=110)


if __name__ == "__main__":
    main()
