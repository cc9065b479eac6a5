"""What each part of the default picker is worth: leave out one component or one feature block at a time, same units.

    AGENTKIT_SHARED_DATA=... python benchmarks/gene_ablate.py [--units 3] [--screens IL2 IFNG Scharenberg22]

Report only. A component left out keeps the others; a block left out leaves the features (sets and graph stay).
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
from gene_loop_common import ROUNDS, cell, knowledge_of, screen_of, units

from agentkit_gene.loop.closed_loop import ClosedLoop, advance
from agentkit_gene.loop.ensemble import EnsemblePicker

if TYPE_CHECKING:
    from agentkit_gene.loop.ensemble import Parts
    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.screen import Screen, View

COMPONENTS = ("trees", "gp", "sets", "prior")


class Without(EnsemblePicker):
    """The ensemble less one component."""

    def __init__(self, knowledge: Knowledge, component: str) -> None:
        super().__init__(knowledge)
        self.component = component

    def parts(self, view: View) -> Parts:
        """All but one."""
        return [part for part in super().parts(view) if part[0] != self.component]


def ratios(screen: Screen, picker: EnsemblePicker, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(units,) hit ratios, all and non-essential."""
    batch = screen.library.auto_batch()
    loops = [ClosedLoop(screen, picker, ROUNDS, batch, u) for u in units(count)]
    for _ in range(ROUNDS):
        advance(loops)
    judged = [loop.judged(screen) for loop in loops]
    outside = [j.hit_ratio_nonessential for j in judged]
    return np.array([j.hit_ratio for j in judged]), np.array(outside, dtype=float)


def main() -> None:
    """Print each variant's ratio and its change."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", type=int, default=3)
    parser.add_argument("--screens", nargs="*", default=["IL2", "IFNG", "Scharenberg22"])
    args = parser.parse_args()
    for name in args.screens:
        screen, knowledge = screen_of(name), knowledge_of(name)
        whole = ratios(screen, EnsemblePicker(knowledge), args.units)
        print(f"{name}: everything  all {cell(whole[0])}   non-essential {cell(whole[1])}", flush=True)
        variants = {f"without {c}": Without(knowledge, c) for c in COMPONENTS}
        variants |= {
            f"without block {b.name}": EnsemblePicker(knowledge.without([b.name])) for b in knowledge.blocks
        }
        for label, picker in variants.items():
            found = ratios(screen, picker, args.units)
            change = [f[0].mean() - f[1].mean() for f in zip(found, whole, strict=True)]
            print(
                f"  {label:24s} all {cell(found[0])} ({change[0]:+.3f})   non-essential {cell(found[1])} ({change[1]:+.3f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
