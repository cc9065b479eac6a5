"""FalseDiscoveryBench: what scripted agents claim that is not true, in worlds whose truth is known, under five guards.

    python benchmarks/false_discovery.py [--quick] [--out FOLDER]

Agents: honest (fixed n; under the ledger: batches until the house's stop rule; or the units of the fixed-n analysis given
to the most promising open claims), naive (three metrics, both directions, ten looks), and cheats: peeking, re-analysing
subsets, swapping metrics, retrying until p < .05, hiding nine analyses, dropping failed units. Guards: none (p < .05),
POPPER's e-value rule, SAFFRON, BH on the finished campaign, and agentkit, where every look at another metric, subset or
try is another registered hypothesis on units of its own. 100 ideas a campaign, alpha .05.

Every agentkit cell also plays one campaign through the real ledger, verifies it, and computes it again: all verdict rows
must be equal to those of the vectorised rule that the other campaigns use.

Bars: naive without a guard FDR >= .3; agentkit FDR <= .05 in every cell; naive under agentkit FDR <= .05; power of the
honest agent under agentkit >= .90 of BH with fixed n at no more units. Exit code 1 when one is missed.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from false_discovery_agents import AGENTS, DROPPER, SHARER, Agent
from false_discovery_figure import Cells, save
from false_discovery_guards import Drawn, Tally, judged, ledger_rule, popper, reported
from false_discovery_ledger import both_ways
from false_discovery_worlds import SIMULATED, World, real_worlds

from agentkit.ledger import Ledger
from agentkit.seeds import derive_seed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ALPHA, IDEAS = 0.05, 100
CAMPAIGNS, QUICK_CAMPAIGNS = 400, 60
REAL_IDEAS, QUICK_REAL_IDEAS = 10, 4
GUARDS = ("none", "POPPER", "SAFFRON", "BH", "agentkit")
NAIVE_BAR, POWER_BAR = 0.3, 0.90
OUT = Path("bench-output")


def cells_of(
    world: World, agent: Agent, *, campaigns: int, ideas: int, alpha: float = ALPHA
) -> Iterator[tuple[str, Tally]]:
    """Every guard's tally of one agent in one world; streams of random numbers depend on their names alone."""

    def rng(guard: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed("false-discovery", f"{world.name}/{agent.name}/{guard}"))

    if not agent.shares:
        found = reported(world, agent, rng("reported"), campaigns=campaigns, ideas=ideas, alpha=alpha)
        found["POPPER"] = popper(world, agent, rng("POPPER"), campaigns=campaigns, ideas=ideas, alpha=alpha)
        yield from ((guard, found[guard]) for guard in GUARDS[:-1])
    closed = ledger_rule(
        world, agent, Drawn(world), rng("agentkit"), campaigns=campaigns, ideas=ideas, alpha=alpha
    )
    yield "agentkit", judged(*closed, agent.claims)


def agents_of(world: World) -> Sequence[Agent]:
    """The honest ones first."""
    return [AGENTS[0], SHARER, *AGENTS[1:], *([DROPPER] if world.units_fail else [])]


def line(world: str, agent: str, tallies: dict[str, Tally]) -> str:
    """One row: FDR with its standard error, power, and units in thousands, per guard."""
    parts = []
    for guard in GUARDS:
        if guard not in tallies:
            parts.append(" " * 23)
            continue
        t = tallies[guard]
        fdr, se = t.fdr
        power = " -- " if math.isnan(t.power) else f"{t.power:4.2f}"
        parts.append(f"{fdr:.3f} ±{se:.3f} {power} {t.units.mean() / 1000:4.1f}k")
    return f"{world:38} {agent:20} " + "  ".join(parts)


def table(worlds: Sequence[World], *, campaigns: int, ideas: int) -> dict[tuple[str, str, str], Tally]:
    """Print every cell as it is known."""
    print(f"{'':59} " + "  ".join(f"{g:23}" for g in GUARDS))
    print(f"{'world':38} {'agent':20} " + "  ".join(f"{'FDR    se   power units':23}" for _ in GUARDS))
    cells = {}
    for world in worlds:
        for agent in agents_of(world):
            tallies = dict(cells_of(world, agent, campaigns=campaigns, ideas=ideas))
            cells.update({(world.name, agent.name, guard): tally for guard, tally in tallies.items()})
            print(line(world.name, agent.name, tallies), flush=True)
    return cells


def through_the_ledger(worlds: Sequence[World], folder: Path, ideas: int) -> tuple[int, int, int]:
    """Campaigns played through the real store, their verdicts, and how many differ from the vectorised rule."""
    campaigns = rows = different = 0
    for i, world in enumerate(worlds):
        path = folder / f"world{i}.db"
        for agent in agents_of(world):
            seed = derive_seed("false-discovery-ledger", f"{world.name}/{agent.name}")
            stored, computed = both_ways(world, agent, path, ideas=ideas, alpha=ALPHA, seed=seed)
            campaigns, rows = campaigns + 1, rows + len(stored)
            different += abs(len(stored) - len(computed))
            different += sum(a != b for a, b in zip(stored, computed, strict=False))
        with Ledger(path, readonly=True) as ledger:
            ledger.verify()
    return campaigns, rows, different


def bars(cells: Cells, worlds: Sequence[World]) -> list[tuple[bool, str]]:
    """Each bar: whether it is met, and the figures that say so."""
    naive = {w.name: cells[w.name, "naive", "none"].fdr[0] for w in worlds}
    ours = {key: t.fdr[0] for key, t in cells.items() if key[2] == "agentkit"}
    worst = max(ours, key=lambda key: ours[key])
    forced = max(fdr for (_, agent, _), fdr in ours.items() if agent == "naive")
    least = min(naive, key=lambda name: naive[name])
    found = [
        (
            naive[least] >= NAIVE_BAR,
            f"naive without a guard: FDR {naive[least]:.3f} at least ({least}), bar {NAIVE_BAR}",
        ),
        (
            ours[worst] <= ALPHA,
            f"agentkit: FDR {ours[worst]:.3f} at most ({worst[0]}; {worst[1]}), bar {ALPHA}",
        ),
        (forced <= ALPHA, f"naive under agentkit: FDR {forced:.3f} at most, bar {ALPHA}"),
    ]
    for agent in (AGENTS[0], SHARER):
        ratios = {}
        for world in worlds:
            mine, fixed = cells[world.name, agent.name, "agentkit"], cells[world.name, "honest", "BH"]
            if not math.isnan(fixed.power):
                ratios[world.name] = mine.power / fixed.power, mine.units.mean() / fixed.units.mean()
        low = min(ratios, key=lambda name: ratios[name][0])
        dear = max(units for _, units in ratios.values())
        met = ratios[low][0] >= POWER_BAR and dear <= 1
        text = f"{agent.name} under agentkit: {ratios[low][0]:.2f} of BH's power at least ({low}), {dear:.2f} of its units at most"
        found.append((met, f"{text}, bar {POWER_BAR}, 1"))
    return found


def write_csv(cells: Cells, path: Path) -> None:
    """All cells, with every figure."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["world", "agent", "guard", "fdr", "fdr_se", "power", "units", "runs", "campaigns"])
        for key, t in cells.items():
            rows.writerow([*key, *t.fdr, t.power, t.units.mean(), t.runs.mean(), len(t.units)])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_CAMPAIGNS} campaigns a cell, not {CAMPAIGNS}"
    )
    parser.add_argument(
        "--out", type=Path, default=OUT, help="folder for figure, CSV and the pool of measurements"
    )
    options = parser.parse_args()
    began = time.monotonic()
    worlds = [*SIMULATED, *real_worlds(options.out)]
    campaigns = QUICK_CAMPAIGNS if options.quick else CAMPAIGNS
    print(
        f"{campaigns} campaigns a cell, {IDEAS} ideas each, alpha {ALPHA}; real measurements at {time.monotonic() - began:.0f} s"
    )
    cells = table(worlds, campaigns=campaigns, ideas=IDEAS)
    with tempfile.TemporaryDirectory() as folder:
        played, rows, different = through_the_ledger(
            worlds, Path(folder), QUICK_REAL_IDEAS if options.quick else REAL_IDEAS
        )
    print(
        f"\nreal ledger: {played} campaigns, {rows} verdict rows, {different} differ from the vectorised rule; stores verified"
    )
    for path in save(cells, options.out, ALPHA):
        print(f"figure {path}")
    write_csv(cells, options.out / "false_discovery.csv")
    found = bars(cells, worlds)
    for met, text in found:
        print(f"{'met   ' if met else 'MISSED'} {text}")
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if all(met for met, _ in found) and different == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
