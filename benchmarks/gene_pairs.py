"""Gene pairs: hits after 5 rounds of 128 among the 100 128 measured pairs of 448 genes (Horlbeck 2018, K562).

    AGENTKIT_SHARED_DATA=... python benchmarks/gene_pairs.py [--units 5]

Bars: prior+ens at least 200 hits, and at least 3 times random.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gene_loop_common import half_width, knowledge_of, run, screen_of

PICKERS = ("random", "prior", "trees", "prior+trees", "prior+ens")


def main() -> None:
    """Print hits by picker and the bars."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", type=int, default=5)
    parser.add_argument(
        "--kept", type=Path, default=None, help="folder of finished runs: a stopped benchmark goes on"
    )
    parser.add_argument("--pickers", nargs="*", default=list(PICKERS))
    args = parser.parse_args()
    screen, knowledge = screen_of("Horlbeck_pairs"), knowledge_of("Horlbeck_pairs")
    found = {}
    for picker in args.pickers:
        r = run(screen, picker, args.units, knowledge, kept=args.kept)
        found[picker] = r.hits.mean()
        rounds = " ".join(f"{v * screen.true_hits().sum():.0f}" for v in r.curves.mean(axis=0))
        print(
            f"{picker:12s} hits {r.hits.mean():6.1f} +-{half_width(r.hits):.1f}   by round {rounds}   {r.seconds:.1f} CPU-s",
            flush=True,
        )
    if not {"random", "prior+ens"} <= set(found):
        return
    ours, chance = found["prior+ens"], found["random"]
    print(
        f"{'met' if ours >= 200 else 'MISS'}: {ours:.0f} hits, bar 200; {'met' if ours >= 3 * chance else 'MISS'}: {ours / chance:.1f} x random, bar 3"
    )


if __name__ == "__main__":
    main()
