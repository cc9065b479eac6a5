"""Scores of predicted perturbation effects: pure functions of arrays, (perturbations, genes) throughout.

`delta` is the change of mean log expression against the control. Ties get midranks, so a constant prediction scores
0.5 where a random one does; every gene targeted anywhere in the panel leaves the space in which perturbations are
told apart, so no predictor gains by naming the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from agentkit_gene.simulation.errors import BadTruthError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agentkit_gene.simulation.program import Floats

FDR = 0.05


@dataclass(frozen=True)
class Truth:
    """What the held-out perturbations really did.

    Attributes:
        delta: (n, genes) change of mean log expression.
        mean: (n, genes) mean log expression.
        t: (n, genes) Welch t of perturbed against control cells.
        changed: (n, genes) Benjamini-Hochberg significant at 5 %.
        targeted: (genes,) genes that some perturbation of the whole panel targets.
    """

    delta: Floats
    mean: Floats
    t: Floats
    changed: NDArray[np.bool_]
    targeted: NDArray[np.bool_]


def delta_pearson(predicted: Floats, truth: Floats) -> tuple[Floats, int]:
    """Correlation over genes for each perturbation, and how many were undefined (no variance; they score 0)."""
    p = predicted - predicted.mean(axis=1, keepdims=True)
    d = truth - truth.mean(axis=1, keepdims=True)
    norm = np.sqrt((p * p).sum(axis=1) * (d * d).sum(axis=1))
    flat = (np.ptp(predicted, axis=1) == 0) | (np.ptp(truth, axis=1) == 0)
    r = np.divide((p * d).sum(axis=1), norm, out=np.zeros(len(p)), where=~flat & (norm > 0))
    return np.clip(np.where(flat, 0.0, r), -1, 1), int(flat.sum())


def nearer_counts(
    predicted: Floats, truth: Floats, targeted: NDArray[np.bool_], *, distance: str = "euclidean"
) -> Floats:
    """For each prediction, how many other perturbations' true effects are nearer to it than its own; ties count a half.

    Targeted genes are left out for every perturbation alike.

    Args:
        predicted: (n, genes).
        truth: (n, genes).
        targeted: (genes,) genes to leave out.
        distance: `euclidean` or `cosine`.

    Raises:
        BadTruthError: fewer than two perturbations, or no gene is left.
    """
    if len(truth) < 2:
        raise BadTruthError(f"pds tells perturbations apart and needs at least 2 held out, got {len(truth)}")
    if targeted.all():
        raise BadTruthError("pds leaves targeted genes out, and every gene is targeted; perturb fewer genes")
    gap = distances(predicted[:, ~targeted], truth[:, ~targeted], distance)
    own = np.diagonal(gap)[:, None]
    return np.asarray((gap < own).sum(axis=1) + 0.5 * ((gap == own).sum(axis=1) - 1))


def discrimination(nearer: Floats, *, over_n: bool = False) -> float:
    """Mean of 1 - r / (n - 1): 1 is perfect, 0.5 chance and, exactly, any constant prediction.

    `over_n` gives cell-eval's 1 - r / n, by which a constant prediction scores (n + 1) / 2n.
    """
    n = len(nearer)
    return float(1 - nearer.sum() / (n * (n if over_n else n - 1)))


def distances(a: Floats, b: Floats, kind: str) -> Floats:
    """(n, m) distances between rows; a row without variance is at cosine distance 1 from everything."""
    if kind == "euclidean":
        return np.asarray(np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)))
    size = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None, :]
    return np.asarray(1 - np.divide(a @ b.T, size, out=np.zeros_like(size), where=size > 0))


def error_on_top(predicted: Floats, truth: Truth, top: int) -> Floats:
    """Mean squared error over the `top` genes with the largest |t|, per perturbation."""
    best = np.argsort(-np.abs(truth.t), axis=1, kind="stable")[:, :top]
    gap = np.take_along_axis(predicted - truth.delta, best, axis=1)
    return np.asarray((gap * gap).mean(axis=1))


def differential(predicted: Floats, truth: Truth, top: int) -> dict[str, float]:
    """How well the changed genes are found: means over the perturbations where each is defined.

    de_overlap: share of the `top` most changed genes (by |t|) among the `top` largest |prediction|; de_recall: the same
    at the number of changed genes; de_direction: share of changed genes with the right sign; de_auroc, de_auprc:
    |prediction| as a score for being changed; lfc_spearman: rank correlation over the changed genes.
    """
    found: dict[str, list[float]] = {}
    for p, t, d, changed in zip(predicted, truth.t, truth.delta, truth.changed, strict=True):
        n_changed = int(changed.sum())
        if n_changed == 0:
            continue
        size = np.abs(p)
        k = min(top, n_changed)
        values = {
            "de_overlap": _overlap(size, np.abs(t), k),
            "de_recall": _overlap(size, np.where(changed, np.abs(t), -1.0), n_changed),
            "de_direction": float((np.sign(p[changed]) == np.sign(d[changed])).mean()),
        }
        if n_changed < len(p):
            values["de_auroc"] = auroc(size, changed)
            values["de_auprc"] = average_precision(size, changed)
        if n_changed >= 3 and np.ptp(p[changed]) > 0:
            values["lfc_spearman"] = float(stats.spearmanr(p[changed], d[changed])[0])
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(v)) for name, v in found.items()}


def _overlap(a: Floats, b: Floats, k: int) -> float:
    """Share of b's k largest among a's k largest; places that tie at a's edge are shared evenly."""
    wanted = np.argsort(-b, kind="stable")[:k]
    edge = np.sort(a)[::-1][k - 1]
    above, at = a > edge, a == edge
    weight = np.where(above, 1.0, np.where(at, (k - above.sum()) / max(1, at.sum()), 0.0))
    return float(weight[wanted].sum() / k)


def auroc(score: Floats, positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve by midranks."""
    ranks = stats.rankdata(score)
    n_pos = int(positive.sum())
    n_neg = len(score) - n_pos
    return float((ranks[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def average_precision(score: Floats, positive: NDArray[np.bool_]) -> float:
    """Average precision; tied scores enter together."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(positive[order])
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    precision = (hits / np.arange(1, len(score) + 1))[last_of_tie]
    recall = np.diff(np.concatenate([[0.0], (hits / positive.sum())[last_of_tie]]))
    return float((precision * recall).sum())


def welch(
    mean: Floats, var: Floats, n: int, mean0: Floats, var0: Floats, n0: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """Welch t of (genes,) moments against a control's, and which genes pass Benjamini-Hochberg at 5 %."""
    a, b = var / n, var0 / n0
    gap = mean - mean0
    error = np.sqrt(a + b)
    t = np.divide(gap, error, out=np.where(gap == 0, 0.0, np.sign(gap) * 1e12), where=error > 0)
    freedom = np.divide(
        (a + b) ** 2, a**2 / (n - 1) + b**2 / (n0 - 1), out=np.full_like(a, n + n0 - 2.0), where=error > 0
    )
    return t, benjamini_hochberg(2 * stats.t.sf(np.abs(t), freedom))


def benjamini_hochberg(p: Floats, level: float = FDR) -> NDArray[np.bool_]:
    """Which hypotheses pass at this false discovery rate."""
    order = np.argsort(p, kind="stable")
    passing = p[order] <= level * np.arange(1, len(p) + 1) / len(p)
    last = int(np.flatnonzero(passing)[-1]) + 1 if passing.any() else 0
    chosen = np.zeros(len(p), dtype=bool)
    chosen[order[:last]] = True
    return chosen


def all_scores(predicted: Floats, truth: Truth, *, top: int, distance: str) -> dict[str, float]:
    """Every metric that needs no baseline, by name; means over the held-out perturbations."""
    r, undefined = delta_pearson(predicted, truth.delta)
    gap = predicted - truth.delta
    nearer = nearer_counts(predicted, truth.delta, truth.targeted, distance=distance)
    return {
        "delta_pearson": float(r.mean()),
        "undefined": float(undefined),
        "mse_delta": float((gap * gap).mean()),
        "mae_delta": float(np.abs(gap).mean()),
        "mse_top": float(error_on_top(predicted, truth, top).mean()),
        "pds": discrimination(nearer),
        "pds_n": discrimination(nearer, over_n=True),
        **differential(predicted, truth, top),
    }


NORMALISED: Sequence[tuple[str, bool]] = (("de_overlap", True), ("pds", True), ("mae_delta", False))
"""What `score_norm` averages: (metric, whether higher is better)."""


def normalised(scores: dict[str, float], baseline: dict[str, float]) -> float:
    """Mean of (u - b) / (1 - b), or 1 - u / b where lower is better, each clipped to [0, 1]; b is the perturbed mean's."""
    parts = []
    for name, higher in NORMALISED:
        if name not in scores or name not in baseline:
            continue
        u, b = scores[name], baseline[name]
        if higher:
            parts.append((u - b) / (1 - b) if b < 1 else 0.0)
        else:
            parts.append(1 - u / b if b > 0 else 0.0)
    return float(np.mean(np.clip(parts, 0, 1))) if parts else 0.0
