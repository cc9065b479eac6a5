"""The pickers on screens that are not among the shared ones, and how much each finds over chance.

    AGENTKIT_SHARED_DATA=... python benchmarks/gene_held_out.py FOLDER [--units 2] [--pickers ...] [--kept FOLDER]

FOLDER: screens as .csv.gz with a .toml beside each, as `gene_orcs.py` writes them, or the folder `datasets` of
BioDiscoveryAgent's repository (Roohani et al. 2024, arXiv 2405.17631), of which Sanchez21 and Sanchez21_down are read.
Features come from the shared folder. Report only: the last lines are means over screens.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import tempfile
from pathlib import Path

import numpy as np
from gene_loop_common import half_width, run

from agentkit_gene.loop.discovery import load_knowledge
from agentkit_gene.loop.feature_cache import default_cache
from agentkit_gene.loop.screen_files import read_screen, shared_folder

PICKERS = ("random", "prior", "gp_thompson", "trees", "prior+trees", "prior+ens")
SANCHEZ = ("Sanchez21", "Sanchez21_down")


def lay_out(datasets: Path, folder: Path) -> None:
    """The two screens of Sanchez et al. as files of ours."""
    for name in SANCHEZ:
        said = json.loads((datasets / "task_prompts" / f"{name}.json").read_text())
        hits = set(np.load(datasets / f"topmovers_{name}.npy", allow_pickle=False).tolist())
        with (datasets / f"ground_truth_{name}.csv").open() as lines:
            scores = {row["Gene"]: row["Score"] for row in csv.DictReader(lines)}
        with gzip.open(folder / f"{name}.csv.gz", "wt") as out:
            out.write("gene,score,hit\n")
            out.writelines(f"{gene},{score},{int(gene in hits)}\n" for gene, score in scores.items())
        facts = {"task": said["Task"], "measurement": said["Measurement"], "study": "Sanchez21"}
        (folder / f"{name}.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in facts.items()))


def compare(folder: Path, pickers: list[str], units: int, kept: Path | None) -> None:
    """A line a screen and picker; then means over screens."""
    found: dict[str, list[float]] = {p: [] for p in pickers}
    for path in sorted(folder.glob("*.csv.gz")):
        screen = read_screen(path, essential=shared_folder() / "core_essential_CEGv2.csv")
        knowledge = load_knowledge(screen.library, cache=default_cache())
        chance = min(1.0, 5 * screen.library.auto_batch() / len(screen.library))
        print(
            f"{screen.library.name}: {len(screen.library)} genes, {screen.true_hits().sum()} hits, chance {chance:.3f}"
        )
        for picker in pickers:
            r = run(screen, picker, units, knowledge, kept=kept)
            found[picker].append(r.all.mean() / chance)
            print(
                f"  {picker:12s} {r.all.mean():.3f} +- {half_width(r.all):.3f}   non-essential {r.outside.mean():.3f} "
                f"+- {half_width(r.outside):.3f}   {r.seconds:.1f} CPU-s",
                flush=True,
            )
    for picker, lifts in found.items():
        logs = np.log(np.maximum(lifts, 0.1))
        better = sum(a > b for a, b in zip(found["prior+ens"], lifts, strict=True))
        print(
            f"{picker:12s} times chance: mean {np.mean(lifts):.2f}, geometric mean {np.exp(logs.mean()):.2f}; "
            f"prior+ens better on {better} of {len(lifts)}"
        )


def main() -> None:
    """Compare the pickers on a folder of screens."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--units", type=int, default=2)
    parser.add_argument("--pickers", nargs="*", default=list(PICKERS))
    parser.add_argument("--kept", type=Path, default=None, help="folder of finished runs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder
        if (folder / "task_prompts").is_dir():
            lay_out(folder, Path(name))
            folder = Path(name)
        compare(folder, args.pickers, args.units, args.kept)


if __name__ == "__main__":
    main()
