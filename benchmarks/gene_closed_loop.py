"""Hits found in 5 rounds of 128 (32 in small libraries) by every picker, on the same units, features and screens.

    AGENTKIT_SHARED_DATA=... python benchmarks/gene_closed_loop.py [--units 5] [--many 20] [--out FOLDER] [--kept FOLDER]

Shared screens only when present. Cumulative hit ratio at each round, all and non-essential, mean, standard deviation
and 95 % interval over units (units vary the picker's randomness only), CPU seconds a unit. Writes curves.png and bars.png.
Bars: the floors below; `prior+ens` at least 1.05 times the best of gp_thompson, top_uncertain and trees on IL2, IFNG and
Scharenberg, 1.3 times on Steinhart, over --many units (all genes).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gene_loop_common import ROUNDS, SINGLE_SCREENS, Run, cell, half_width, knowledge_of, run, screen_of

if TYPE_CHECKING:
    from collections.abc import Sequence

PICKERS = (
    "random", "prior", "coreset", "kmeans", "top_uncertain", "soft_uncertain", "gp_thompson", "trees", "prior+trees",
    "prior+ens",
)  # fmt: skip
PEERS = ("gp_thompson", "top_uncertain", "trees")
FLOORS = {
    "IL2": (0.22, 0.14),
    "IFNG": (0.12, 0.08),
    "Steinhart_crispra_GD2_D22": (0.07, 0.07),
    "Scharenberg22": (0.36, 0.33),
}
RATIOS = {"IL2": 1.05, "IFNG": 1.05, "Scharenberg22": 1.05, "Steinhart_crispra_GD2_D22": 1.3}


def main() -> None:
    """Print the table, the bars and the ratios; write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", type=int, default=5)
    parser.add_argument("--many", type=int, default=20)
    parser.add_argument("--screens", nargs="*", default=list(SINGLE_SCREENS))
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument(
        "--pickers",
        nargs="*",
        default=list(PICKERS),
        help="only these; bars and figures need random, the default and its three peers",
    )
    parser.add_argument(
        "--kept", type=Path, default=None, help="folder of finished runs: a stopped benchmark goes on"
    )
    args = parser.parse_args()
    found: dict[str, dict[str, Run]] = {}
    for name in args.screens:
        found[name] = table(name, args.units, args.pickers, args.kept)
    if not {"random", *PEERS, "prior+ens"} <= set(args.pickers):
        return
    met = [line for name in args.screens for line in floors(name, found[name])]
    if args.many:
        met += [ratio(name, args.many, args.kept) for name in args.screens if name in RATIOS]
    print("\n".join(met))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        curves(found, args.out / "curves.png")
        bars(found, args.out / "bars.png")


def table(name: str, count: int, pickers: Sequence[str], kept: Path | None) -> dict[str, Run]:
    """Every picker on one screen."""
    screen, knowledge = screen_of(name), knowledge_of(name)
    print(f"{name}: {len(screen.library)} genes, {screen.true_hits().sum()} hits, {count} units")
    runs = {}
    for picker in pickers:
        runs[picker] = r = run(screen, picker, count, knowledge, kept=kept)
        rounds = " ".join(f"{v:.3f}" for v in r.curves.mean(axis=0))
        print(
            f"  {picker:15s} all {cell(r.all)}   non-essential {cell(r.outside)}   by round {rounds}   {r.seconds:.1f} CPU-s",
            flush=True,
        )
    return runs


def floors(name: str, runs: dict[str, Run]) -> list[str]:
    """Whether the default clears the floors (at least random where there is none)."""
    mine = runs["prior+ens"]
    everyone, outside = FLOORS.get(name, (runs["random"].all.mean(), None))
    lines = [bar(f"{name} all", mine.all.mean(), everyone)]
    if outside is not None:
        lines.append(bar(f"{name} non-essential", mine.outside.mean(), outside))
    return lines


def bar(what: str, value: float, floor: float) -> str:
    """One bar: value, floor, how far above it."""
    return f"{'met ' if value >= floor else 'MISS'} {what}: {value:.3f}, floor {floor:.3f} ({value / floor - 1:+.0%})"


def ratio(name: str, count: int, kept: Path | None) -> str:
    """The default over the best learning peer, on the same units."""
    screen, knowledge = screen_of(name), knowledge_of(name)
    means = {p: run(screen, p, count, knowledge, kept=kept).all for p in (*PEERS, "prior+ens")}
    best = max(PEERS, key=lambda p: means[p].mean())
    value = means["prior+ens"].mean() / means[best].mean()
    each = ", ".join(f"{p} {v.mean():.3f} +-{half_width(v):.3f}" for p, v in means.items())
    verdict = "met " if value >= RATIOS[name] else "MISS"
    return f"{verdict} {name}: prior+ens / {best} = {value:.2f}, bar {RATIOS[name]} ({count} units: {each})"


def curves(found: dict[str, dict[str, Run]], path: Path) -> None:
    """Cumulative hit ratio by round; the band is one standard deviation over units."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(found), 3.6), layout="constrained")
    for axes, (name, runs) in zip(
        figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True
    ):
        for picker, r in runs.items():
            mean, sd = r.curves.mean(axis=0), r.curves.std(axis=0)
            (line,) = axes.plot(
                range(1, ROUNDS + 1), mean, label=picker, lw=2.5 if picker == "prior+ens" else 1.2
            )
            axes.fill_between(
                range(1, ROUNDS + 1), mean - sd, mean + sd, color=line.get_color(), alpha=0.15, lw=0
            )
        axes.set(title=name, xlabel="round", ylabel="hits found / all hits")
    axes.legend(fontsize=6)
    figure.savefig(path, dpi=120)


def bars(found: dict[str, dict[str, Run]], path: Path) -> None:
    """The last round, all and non-essential side by side; the dashed line is chance."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(found), 3.6), layout="constrained")
    for axes, (name, runs) in zip(
        figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True
    ):
        at = np.arange(len(runs))
        axes.barh(
            at + 0.2,
            [r.all.mean() for r in runs.values()],
            0.4,
            xerr=[half_width(r.all) for r in runs.values()],
            label="all",
        )
        axes.barh(
            at - 0.2,
            [r.outside.mean() for r in runs.values()],
            0.4,
            xerr=[half_width(r.outside) for r in runs.values()],
            label="non-essential",
        )
        library = screen_of(name).library
        axes.axvline(min(ROUNDS * library.auto_batch() / len(library), 1.0), ls="--", c="0.4", lw=1)
        axes.set(title=name, xlabel="hit ratio, round 5", yticks=at, yticklabels=list(runs))
    axes.legend(fontsize=6)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
