"""Three studies of gene networks, offline, from question to verdict, and one question left to the offline planner.

    python benchmarks/gene_studies.py [--folder demo-output/gene]

1 the toggle switch: does a 70 % knock-down of A raise the share of cells with B on by at least 0.2?
2 epistasis: which pair of the coherent loop in grn:ffl10 is epistatic on G, by at least 0.05 in mean log(1 + level)?
3 a predictor (the noise-free model, written to a file) against the mean of the training perturbations.
4 "which double knock-outs in grn:ffl10 are epistatic on gene G?", asked of the offline planner.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from agentkit.laboratory import Lab
from agentkit_gene.simulation.conditions import swept
from agentkit_gene.simulation.model import build_model
from agentkit_gene.simulation.moments import moments_of
from agentkit_gene.simulation.target import load_network

ALL_PAIRS: dict[str, Any] = {"target": "grn:ffl10", "kind": "KO", "order": 2, "readout": "G", "cells": 50}


def write_predictions(path: Path) -> None:
    """Noise-free effects of every double knock-out of ffl10: somebody's predictor, as `gene.score` reads it."""
    network = load_network("ffl10")
    asked = swept(network, "KO", None, "regulators", 2, 5000).asked
    pairs = {n: p for n, p in asked.items() if len(p.parts) == 2}
    found = moments_of(build_model(network), list(pairs.values()), lna=False)
    base = np.log1p(found["baseline"].mean[:, 0])
    values = np.array([np.log1p(found[n].mean[:, 0]) - base for n in pairs])
    names = {
        "perturbation": np.array(list(pairs)),
        "var_names": np.array(network.names),
        "scale": np.array("delta"),
    }
    np.savez(path, values=values, **names)


def main() -> None:
    """Run the studies and print their verdicts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("demo-output/gene"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    predictions = (args.folder / "preds.npz").resolve()
    write_predictions(predictions)
    store = f"sqlite:///{(args.folder / 'gene.db').resolve()}"
    with Lab(store, workers="local:2", notify=print) as lab:
        toggle = lab.campaign("toggle", max_hypotheses=5, seed=1)
        lab.register(
            toggle,
            tool="gene.perturb",
            params={"target": "grn:toggle", "perturb": ["KD:A@0.7"], "readout": "B", "cells": 200},
            condition="KD:A@0.7",
            metric="frac_on",
            direction="greater",
            sesoi=0.2,
            max_units=40,
        )
        show(lab.confirm(toggle))
        pairs = lab.campaign("epistasis", max_hypotheses=5, seed=2)
        table = lab.explore("gene.screen", units=4, campaign=pairs, **ALL_PAIRS)
        mean = {c: float(table.column("epistasis", c).mean()) for c in table.conditions}
        best = max(mean, key=lambda c: abs(mean[c]))
        print(f"explored: strongest pair {best}, epistasis {mean[best]:+.3f}")
        lab.register(
            pairs,
            tool="gene.screen",
            params=ALL_PAIRS,
            condition=best,
            metric="epistasis",
            direction="greater" if mean[best] > 0 else "less",
            sesoi=0.05,
            max_units=200,
        )
        show(lab.confirm(pairs))
        scoring = lab.campaign("predictor", max_hypotheses=5, seed=3)
        lab.register(
            scoring,
            tool="gene.score",
            params={
                "target": "grn:ffl10",
                "truth": {"kind": "KO", "order": 2, "cells": 100},
                "predictions": {"mine": str(predictions)},
            },
            condition="pred:mine",
            metric="delta_pearson",
            direction="greater",
            sesoi=0.3,
            max_units=40,
        )
        show(lab.confirm(scoring))
        asked = lab.campaign("asked", max_hypotheses=5, seed=4)
        question = "Which double knock-outs in grn:ffl10 are epistatic on gene G?"
        step = {"tool": "gene.screen", "params": ALL_PAIRS, "units": 4, "metric": "epistasis", "sesoi": 0.05}
        print(lab.ask(question, campaign=asked, steps=[step]))


def show(verdicts: list[dict[str, Any]]) -> None:
    """One line a verdict."""
    for v in verdicts:
        print(
            "verdict:",
            {
                k: v[k]
                for k in v
                if k in ("hypothesis", "verdict", "estimate", "low", "high", "n", "claim", "label")
            },
        )


if __name__ == "__main__":
    main()
