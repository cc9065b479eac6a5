"""Racing head search against the full search on digits-dit: generations spent and what the found heads score.

    python benchmarks/head_race.py [--seeds 5] [--units 12] [--k 6] [--n 24] [--steps 12]

Both searches read the same table of measurements (every head on every unit, measured once per search seed), so
only the choice of what to look at differs. The judge is measured on fresh units. Bars: at most half the
generations, mean judge within .01 of the full search.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit import Lab, Measurements
from agentkit_attention.headhunter import HeadHunter, heads_of

if TYPE_CHECKING:
    from agentkit.plugins import Plugins

SPENT_BAR, JUDGE_BAR = 0.5, 0.01


@dataclass
class Recorded:
    """A lab that answers a search from one table: the next units of the heads asked for."""

    table: Measurements
    plugins: Plugins
    seen: int = 0

    def explore(self, tool: str, *, units: int, campaign: Any, each: str, **params: Any) -> Measurements:
        """The next `units` units of these heads."""
        part = self.table.select(self.table.units[self.seen : self.seen + units], each.split())
        self.seen += units
        return part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, value in (("seeds", 5), ("units", 12), ("k", 6), ("n", 24), ("steps", 12)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    gaps, shares, overlaps = [], [], []
    draw = {"technique": "identity", "w": 1.5, "n": asked.n, "steps": asked.steps, "features": None}
    with tempfile.TemporaryDirectory() as folder, Lab(f"{folder}/race.db", workers="inline") as lab:
        heads = heads_of(lab.plugins, "digits-dit:")
        for seed in range(asked.seeds):
            campaign = lab.campaign(f"race {seed}", seed=seed)
            table = lab.explore(
                "attention.guide", units=asked.units, campaign=campaign, each="L*.H*", u=1.0, **draw
            )
            found = {
                race: HeadHunter(
                    Recorded(table, lab.plugins), heads, asked.k, units=asked.units, u_post=(), race=race
                ).run()
                for race in (True, False)
            }
            judged = lab.explore(
                "attention.guide", units=asked.units, campaign=campaign, u=0.5,
                sets={"raced": found[True].heads, "full": found[False].heads}, **draw,
            )  # fmt: skip
            gap = float((judged.column("judge", "raced") - judged.column("judge", "full")).mean())
            gaps.append(gap)
            shares.append(found[True].generations / found[False].generations)
            overlaps.append(len(set(found[True].heads) & set(found[False].heads)))
            print(
                f"seed {seed}: raced {found[True].generations} generations, full {found[False].generations}; "
                f"{overlaps[-1]} of {asked.k} heads in common; judge raced - full {gap:+.4f}"
            )
    spent, off = float(np.mean(shares)), float(np.mean(gaps))
    print(
        f"{spent:.2f} of the generations (bar {SPENT_BAR:g}), judge {off:+.4f} (bar {JUDGE_BAR:g}), "
        f"{np.mean(overlaps):.1f} of {asked.k} heads in common, {asked.seeds} search seeds"
    )
    raise SystemExit(not (spent <= SPENT_BAR and abs(off) <= JUDGE_BAR))


if __name__ == "__main__":
    main()
