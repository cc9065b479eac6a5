"""Our scores against cell-eval2 0.20.0 on one simulated screen: equal to 1e-6 where the definitions agree.

    python benchmarks/gene_scores.py

Peer: pip install cell-eval2==0.20.0. Compared: delta_pearson, mae_delta, mse_delta, and
pds with midrank ties, the target panel left out and n - 1 or n below the rank, by Euclidean and cosine distance, for a
noisy prediction, a constant one, and the truth. Not compared, because the definitions differ: cell-eval ranks
differential genes with a Wilcoxon test on predicted cells (ours: Welch on true cells, |delta| of the prediction), its
score_norm averages other metrics, and it has no mse on the top genes, cloud or network metrics.
"""

from __future__ import annotations

import numpy as np
from cell_eval2.metrics import delta as peer
from cell_eval2.metrics.discrimination import discrimination_score

from agentkit_gene.simulation import scores
from agentkit_gene.simulation.engine import Plan
from agentkit_gene.simulation.experiment import Experiment
from agentkit_gene.simulation.generator import scale_free
from agentkit_gene.simulation.model import build_model
from agentkit_gene.simulation.panel import CONTROL, Panel, build_panel
from agentkit_gene.simulation.perturbation import parse_all


def simulated_panel() -> Panel:
    """Twelve single knock-outs of a network of 60 genes, 64 cells each; perturbations are named by their gene."""
    model = build_model(scale_free(60, 4, types=1))
    perturbations = parse_all([f"KO:G{i}" for i in range(12)])
    plan = Plan("leap", 0.2, 18.75, 64, (0,), shared=False)
    experiment = Experiment(model, plan, perturbations, [0], model.thresholds())
    cells = {}
    for reader, name, view in experiment.run(1, distances=False):
        level = reader.baseline.copy()
        level[view.genes] = view.level
        key = CONTROL if name == "baseline" else name.removeprefix("KO:")
        cells[key] = np.log1p(level.reshape(len(level), -1).T.astype(np.float64))
    return build_panel(model.network.names, cells, np.random.default_rng(0))


def main() -> None:
    """Print each score of both and the largest difference."""
    panel = simulated_panel()
    names = sorted(panel.groups)
    truth = panel.truth(names)
    noisy = truth.delta + np.random.default_rng(1).normal(0, 0.3, truth.delta.shape)
    predictions = {
        "noisy": noisy,
        "constant": np.tile(truth.delta.mean(axis=0), (len(names), 1)),
        "truth": truth.delta,
    }
    labels, genes = np.array([*names, "non-targeting"]), np.array(panel.genes)

    def bulk(delta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return labels, np.vstack([panel.control.mean + delta, panel.control.mean])

    real = bulk(truth.delta)
    worst = 0.0
    for name, predicted in predictions.items():
        sides = {"pred_bulk": bulk(predicted), "real_bulk": real}
        ours = scores.all_scores(predicted, truth, top=20, distance="euclidean")
        cosine = scores.nearer_counts(predicted, truth.delta, truth.targeted, distance="cosine")
        pairs = {
            "mae_delta": (ours["mae_delta"], _mean(peer.mae_delta(**sides))),
            "mse_delta": (ours["mse_delta"], _mean(peer.mse_delta(**sides))),
            "pds, n - 1": (
                ours["pds"],
                _mean(discrimination_score(**sides, genes=genes, distance="l2", rank_denominator="n-1")),
            ),
            "pds, n": (
                ours["pds_n"],
                _mean(discrimination_score(**sides, genes=genes, distance="l2", rank_denominator="n")),
            ),
            "pds, cosine": (
                scores.discrimination(cosine),
                _mean(discrimination_score(**sides, genes=genes, distance="cosine", rank_denominator="n-1")),
            ),
            "delta_pearson": (ours["delta_pearson"], _mean(peer.pearson_delta(**sides))),
        }
        for metric, (mine, other) in pairs.items():
            gap = abs(mine - other)
            worst = max(worst, gap)
            print(f"{name:9s} {metric:14s} ours {mine:.9f}   cell-eval2 {other:.9f}   difference {gap:.1e}")
    print(f"largest difference {worst:.1e}; bar 1e-6")


def _mean(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values())))


if __name__ == "__main__":
    main()
