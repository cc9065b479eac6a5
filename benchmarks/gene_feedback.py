"""What feedback earns: the default picker with true and with permuted results, same units.

    AGENTKIT_SHARED_DATA=... python benchmarks/gene_feedback.py [--units 5]

Permuted: one permutation a unit of (score, hit) over the whole library; picks are judged with the true flags.
Bars: true - permuted at least .10 on IL2 and .08 on Scharenberg.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gene_loop_common import SINGLE_SCREENS, cell, half_width, knowledge_of, run, screen_of

BARS = {"IL2": 0.10, "Scharenberg22": 0.08}


def main() -> None:
    """Print true, permuted and the paired difference by screen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", type=int, default=5)
    parser.add_argument(
        "--kept", type=Path, default=None, help="folder of finished runs: a stopped benchmark goes on"
    )
    parser.add_argument("--screens", nargs="*", default=list(SINGLE_SCREENS))
    args = parser.parse_args()
    for name in args.screens:
        screen, knowledge = screen_of(name), knowledge_of(name)
        true, permuted = (
            run(screen, c, args.units, knowledge, kept=args.kept) for c in ("prior+ens", "prior+ens!permuted")
        )
        gain = true.all - permuted.all
        verdict = (
            ""
            if name not in BARS
            else f"   {'met' if gain.mean() >= BARS[name] else 'MISS'}: bar {BARS[name]}"
        )
        print(
            f"{name:26s} true {cell(true.all)}   permuted {cell(permuted.all)}   "
            f"gain {gain.mean():.3f} +-{half_width(gain):.3f}{verdict}",
            flush=True,
        )


if __name__ == "__main__":
    main()
