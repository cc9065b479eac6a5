"""How much is lost when nobody says which tested genes are hits: score feedback against hit feedback, same units.

    AGENTKIT_SHARED_DATA=... python benchmarks/gene_score_only.py [--units 5] [--share 0.10]

Score feedback calls the top share of tested genes hits, anew each round; both are judged with the true flags.
Bar: score at least 0.75 times hit on every screen, all genes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gene_loop_common import SINGLE_SCREENS, cell, knowledge_of, run, screen_of

from agentkit_gene.loop.feedback import Feedback

BAR = 0.75


def main() -> None:
    """Print both modes and their ratio by screen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", type=int, default=5)
    parser.add_argument(
        "--kept", type=Path, default=None, help="folder of finished runs: a stopped benchmark goes on"
    )
    parser.add_argument("--share", type=float, default=0.10)
    parser.add_argument("--screens", nargs="*", default=list(SINGLE_SCREENS))
    args = parser.parse_args()
    for name in args.screens:
        screen, knowledge = screen_of(name), knowledge_of(name)
        hit, score = (
            run(screen, "prior+ens", args.units, knowledge, feedback=f, kept=args.kept)
            for f in (Feedback("hit"), Feedback("score", share=args.share))
        )
        ratio = score.all.mean() / hit.all.mean()
        print(
            f"{name:26s} hit {cell(hit.all)} / {hit.outside.mean():.3f}   score {cell(score.all)} / "
            f"{score.outside.mean():.3f}   score/hit {ratio:.2f} {'met' if ratio >= BAR else 'MISS'}: bar {BAR}",
            flush=True,
        )


if __name__ == "__main__":
    main()
