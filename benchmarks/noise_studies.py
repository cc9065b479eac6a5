"""Run one of the noise studies of `examples/` in a store of its own, and print curves and ledger verdicts.

    python benchmarks/noise_studies.py slots|detect|certify|rl|speech|graph|purify

No speed is compared: the ledger decides. CPU seconds are those of the whole study, the ledger included.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy import stats

import agentkit
from agentkit.report.table import render_table
from agentkit.study import load_study

STUDIES = {
    "slots": "noisy_slots", "detect": "attack_or_noise", "certify": "certified_digits", "rl": "policy_noise",
    "speech": "speech_hallucination", "graph": "damaged_graph", "purify": "purified_digits",
}  # fmt: skip
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def table(found: agentkit.Measurements) -> None:
    """Mean and 95 % t interval over units of every condition and metric of the exploration."""
    print(f"exploration, {len(found.units)} units: mean [95 % t interval] (descriptive)")
    for condition in found.conditions:
        cells = []
        for metric in found.metrics:
            column = found.column(metric, condition)
            half = stats.t.ppf(0.975, len(column) - 1) * column.std(ddof=1) / np.sqrt(len(column))
            cells.append(f"{metric} {column.mean():.3f} ±{half:.3f}")
        print(f"  {condition:34s} " + "   ".join(cells))


def main(name: str) -> None:
    """Run one study and print what came out."""
    torch.set_num_threads(1)
    study = EXAMPLES / f"{STUDIES[name]}.yaml"
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/study.db"
        with agentkit.Lab(store, workers="inline") as lab:
            result = lab.run(study)
            section = load_study(study).study
            campaign = lab.campaign(
                section.campaign.name, alpha=section.campaign.alpha,
                max_hypotheses=section.campaign.max_hypotheses, seed=section.seed,
            )  # fmt: skip
            explored = [run.measurements() for run in campaign.runs("explore")]
            table(max(explored, key=lambda found: len(found.units)))
            print(render_table(result.verdicts))
    print(f"{time.process_time() - start:.1f} CPU s")


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in STUDIES:
        main(sys.argv[1])
    else:
        raise SystemExit(f"say which study: {', '.join(STUDIES)}")
