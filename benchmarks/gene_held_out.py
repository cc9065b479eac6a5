"""The closed loop on screens that played no part in choosing its constants: Sanchez21 and Sanchez21_down.

They are not among the shared screens. Get them from the repository of BioDiscoveryAgent (Roohani et al. 2024,
arXiv 2405.17631; snap-stanford/BioDiscoveryAgent, folder `datasets`): scores, hits and task come from there, features from
the shared folder.

    AGENTKIT_SHARED_DATA=... python benchmarks/gene_held_out.py DATASETS [--units 5]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from gene_closed_loop import table

from agentkit_gene.loop.screen_files import shared_folder

SCREENS = ("Sanchez21", "Sanchez21_down")
PICKERS = ("random", "prior", "gp_thompson", "trees", "prior+trees", "prior+ens")


def lay_out(datasets: Path, folder: Path) -> None:
    """A folder like the shared one, with these screens alone and the shared features."""
    shared = shared_folder()
    for name in ("features", "core_essential_CEGv2.csv"):
        (folder / name).symlink_to((shared / name).resolve())
    (folder / "screens").mkdir()
    tasks = {}
    for name in SCREENS:
        said = json.loads((datasets / "task_prompts" / f"{name}.json").read_text())
        tasks[name] = {"task": said["Task"], "measurement": said["Measurement"]}
        hits = set(np.load(datasets / f"topmovers_{name}.npy", allow_pickle=False).tolist())
        with (datasets / f"ground_truth_{name}.csv").open() as lines:
            scores = {row["Gene"]: row["Score"] for row in csv.DictReader(lines)}
        with gzip.open(folder / "screens" / f"{name}.csv.gz", "wt") as out:
            out.write("gene,score,hit\n")
            out.writelines(f"{gene},{score},{int(gene in hits)}\n" for gene, score in scores.items())
    (folder / "tasks.json").write_text(json.dumps(tasks))


def main() -> None:
    """Print the table of every picker on both screens."""
    parser = argparse.ArgumentParser()
    parser.add_argument("datasets", type=Path)
    parser.add_argument("--units", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        lay_out(args.datasets, Path(name))
        os.environ["AGENTKIT_SCREEN_DATA"] = name
        for screen in SCREENS:
            table(screen, args.units, PICKERS, None)


if __name__ == "__main__":
    main()
