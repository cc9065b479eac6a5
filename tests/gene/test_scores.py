"""Scores of predictions: chance is chance, truth is best, and a file that is not whole is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from agentkit_gene.simulation import scores
from agentkit_gene.simulation.distances import Cloud, energy_distance, mmd
from agentkit_gene.simulation.errors import BadPredictionError, BadTruthError
from agentkit_gene.simulation.panel import build_panel, log_expression
from agentkit_gene.simulation.score_tool import score
from tests.gene.kit import UNITS, Bench, run

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(5)
NONE = np.zeros(30, dtype=bool)


def truth(n: int = 12, genes: int = 30) -> scores.Truth:
    delta = RNG.normal(size=(n, genes))
    targeted = np.zeros(genes, dtype=bool)
    targeted[:5] = True
    return scores.Truth(delta, delta + 2, delta * 10, np.abs(delta) > 0.8, targeted)


def test_the_truth_itself_scores_best_everywhere() -> None:
    t = truth()
    found = scores.all_scores(t.delta, t, top=10, distance="euclidean")
    assert found["delta_pearson"] == pytest.approx(1, abs=1e-12)
    for name in ("pds", "pds_n", "de_overlap", "de_direction", "de_recall", "lfc_spearman"):
        assert found[name] == pytest.approx(1, abs=1e-12)
    assert found["mse_delta"] == found["mae_delta"] == found["mse_top"] == found["undefined"] == 0


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("n", [2, 7, 12])
def test_a_constant_prediction_is_told_apart_exactly_at_chance(n: int, distance: str) -> None:
    t = truth(n)
    same = np.tile(t.delta.mean(axis=0), (n, 1))
    zero = np.zeros_like(same)
    for prediction in (same, zero):
        nearer = scores.nearer_counts(prediction, t.delta, t.targeted, distance=distance)
        assert scores.discrimination(nearer) == 0.5
    over_n = scores.discrimination(scores.nearer_counts(same, t.delta, t.targeted), over_n=True)
    assert over_n == pytest.approx(
        (n + 1) / (2 * n), abs=1e-12
    )  # cell-eval's: above chance for saying nothing


def test_shuffled_truth_is_told_apart_at_chance() -> None:
    t = truth(60)
    values = [
        scores.discrimination(scores.nearer_counts(t.delta[RNG.permutation(60)], t.delta, t.targeted))
        for _ in range(20)
    ]
    assert np.mean(values) == pytest.approx(0.5, abs=0.05)


def test_naming_the_target_gene_gains_nothing() -> None:
    t = truth()
    boasting = np.zeros_like(t.delta)
    boasting[np.arange(5), np.arange(5)] = -9.0
    assert scores.discrimination(scores.nearer_counts(boasting, t.delta, t.targeted)) == 0.5


def test_equal_distances_count_one_half() -> None:
    delta = np.array([[1.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    assert scores.nearer_counts(delta, delta, np.zeros(2, dtype=bool)).tolist() == [0.5, 0.5, 0.0]


def test_a_flat_prediction_scores_zero_and_is_counted() -> None:
    t = truth(3)
    r, undefined = scores.delta_pearson(np.zeros_like(t.delta), t.delta)
    assert r.tolist() == [0, 0, 0]
    assert undefined == 3


def test_ranking_scores_agree_with_their_definitions() -> None:
    score_, positive = np.round(RNG.normal(size=80), 1), RNG.random(80) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in score_[positive] for b in score_[~positive]]
    assert scores.auroc(score_, positive) == pytest.approx(np.mean(pairs), abs=1e-12)
    from sklearn.metrics import average_precision_score

    assert scores.average_precision(score_, positive) == pytest.approx(
        average_precision_score(positive, score_)
    )


def test_welch_and_benjamini_hochberg_agree_with_scipy() -> None:
    x, y = RNG.normal(0.4, 1, (25, 40)), RNG.normal(0, 1.5, (31, 40))
    t, chosen = scores.welch(x.mean(0), x.var(0, ddof=1), 25, y.mean(0), y.var(0, ddof=1), 31)
    expected = stats.ttest_ind(x, y, equal_var=False)
    assert t == pytest.approx(expected.statistic, abs=1e-10)
    assert np.array_equal(chosen, stats.false_discovery_control(expected.pvalue) <= 0.05)


def _loop(x: np.ndarray, y: np.ndarray, kernel: object, *, diagonal: bool) -> float:
    """Mean over pairs, i = j dropped unless `diagonal`, by a double loop."""
    pairs = [
        kernel(x[:, i] - y[:, j])  # type: ignore[operator]
        for i in range(x.shape[1])
        for j in range(y.shape[1])
        if diagonal or i != j
    ]
    return float(np.mean(pairs))


def test_distances_agree_with_a_double_loop() -> None:
    base = RNG.poisson(3, (6, 15)).astype(np.float32)
    other = base.copy()
    changed = np.array([1, 4])
    other[changed] = RNG.poisson(6, (2, 15))
    cloud = Cloud.of(base)
    xx, xy, yy = cloud.squares_with(changed, other[changed])
    x, y = np.log1p(base.astype(float)), np.log1p(other.astype(float))
    for variant, kernel, diagonal in (
        ("unbiased", np.linalg.norm, False),
        ("pertpy", np.linalg.norm, True),
        ("scperturb", lambda d: d @ d, True),
    ):
        expected = (
            2 * _loop(x, y, kernel, diagonal=diagonal)
            - _loop(x, x, kernel, diagonal=diagonal)
            - _loop(y, y, kernel, diagonal=diagonal)
        )
        assert energy_distance(xx, xy, yy, variant) == pytest.approx(expected, abs=1e-10)
    between = [np.linalg.norm(x[:, i] - x[:, j]) for i in range(15) for j in range(i)]
    assert cloud.scale == pytest.approx(np.median(between), abs=1e-10)

    def gauss(d: np.ndarray) -> float:
        return float(np.exp(-(d @ d) / (2 * cloud.scale**2)))

    expected = (
        _loop(x, x, gauss, diagonal=False)
        + _loop(y, y, gauss, diagonal=False)
        - 2 * _loop(x, y, gauss, diagonal=False)
    )
    assert mmd(xx, xy, yy, cloud.scale) == pytest.approx(expected, abs=1e-10)


def test_counts_are_scaled_to_ten_thousand_and_an_empty_cell_stays_empty() -> None:
    x = log_expression(np.array([[1, 3], [0, 0]], dtype=np.float32), counts=True)
    assert x[0] == pytest.approx(np.log1p([2500.0, 7500.0]))
    assert x[1].tolist() == [0, 0]


def predictions(
    folder: Path, names: list[str], genes: list[str], values: np.ndarray, **fields: object
) -> str:
    path = folder / "p.npz"
    arrays = {
        "values": values,
        "perturbation": np.array(names),
        "var_names": np.array(genes),
        "scale": np.array("delta"),
    }
    arrays |= {k: np.array(v) for k, v in fields.items()}
    np.savez(path, **{k: v for k, v in arrays.items() if v.dtype != object})
    return str(path)


GENES = list("ABCDXYZWRG")
TRUTH = {"kind": "KO", "order": 2, "genes": ["A", "X", "R"], "cells": 40}
PAIRS = ["KO:A+KO:X", "KO:A+KO:R", "KO:R+KO:X"]


def test_a_good_predictor_beats_the_mean_baseline_and_all_baselines_are_there(tmp_path: Path) -> None:
    from agentkit_gene.simulation.moments import moments_of
    from agentkit_gene.simulation.perturbation import parse_perturbation
    from tests.gene.kit import shipped

    model = shipped("ffl10")
    found = moments_of(model, [parse_perturbation(p) for p in PAIRS], lna=False)
    values = np.array([np.log1p(found[p].mean[:, 0]) - np.log1p(found["baseline"].mean[:, 0]) for p in PAIRS])
    file = predictions(tmp_path, ["X+A", *PAIRS[1:]], GENES[::-1], values[:, ::-1])
    bench = Bench()
    table = run(
        score, UNITS[:2], bench, target="grn:ffl10", truth=TRUTH, predictions={"mine": file}, split=0.7
    )
    assert set(table.conditions) == {
        "baseline", "pred:mine", "base:control", "base:additive", "base:linear", "base:ot", "ref:ceiling",
    }  # fmt: skip
    mine, mean = table.column("delta_pearson", "pred:mine"), table.column("delta_pearson", "baseline")
    assert (mine > mean + 0.2).all()
    assert (table.column("pds", "baseline") == 0.5).all()
    assert (table.column("score_norm", "baseline") == 0).all()
    assert (table.column("network_precision", "pred:mine") == 1).all()
    assert {"perturbations.csv", "calibration.png"} <= bench.files.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": PAIRS[:1]}, r"2 of .* perturbations are missing: KO:A\+KO:R|missing"),
        ({"genes": [*GENES[:-1], "Q"]}, "genes are missing: G"),
        ({"names": [PAIRS[0], "X+A", PAIRS[1]]}, "given twice"),
        ({"scale": "expression"}, "look like deltas"),
        ({"scale": "counts"}, "one of delta, expression"),
        ({"values": np.full((3, 10), np.nan)}, "row 0, column 0 is nan"),
        ({"scale": None}, "'scale' is missing"),
    ],
)
def test_an_incomplete_or_misdeclared_prediction_is_refused(
    tmp_path: Path, change: dict, message: str
) -> None:
    given = {"names": PAIRS, "genes": GENES, "values": np.full((3, 10), -0.1)} | change
    given["values"] = given["values"][: len(given["names"])]
    file = predictions(tmp_path, given.pop("names"), given.pop("genes"), given.pop("values"), **given)
    with pytest.raises(BadPredictionError, match=message):
        run(score, target="grn:ffl10", truth=TRUTH, predictions={"mine": file}, split=0.9)


def test_a_truth_without_control_or_with_too_few_cells_or_perturbations_is_refused() -> None:
    cells = RNG.normal(1, 0.1, (8, 5))
    with pytest.raises(BadTruthError, match="no control"):
        build_panel(list("abcde"), {"KO:a": cells}, RNG)
    with pytest.raises(BadTruthError, match="3 cells"):
        build_panel(list("abcde"), {"control": cells, "KO:a": cells[:3]}, RNG)
    with pytest.raises(BadTruthError, match="at least 2 held out"):
        scores.nearer_counts(np.zeros((1, 4)), np.zeros((1, 4)), np.zeros(4, dtype=bool))
    with pytest.raises(BadTruthError, match="every gene is targeted"):
        scores.nearer_counts(np.zeros((3, 4)), np.zeros((3, 4)), np.ones(4, dtype=bool))


def test_a_file_of_cells_is_a_truth_whose_units_resample_the_split(tmp_path: Path) -> None:
    genes = [f"g{i}" for i in range(12)]
    labels = np.repeat(["ctrl", *genes[:6]], 30)
    level = np.full((len(labels), 12), 20.0)
    for i in range(6):
        level[labels == genes[i], i] = 1.0
        level[labels == genes[i], 6 + i] = 60.0
    path = tmp_path / "cells.npz"
    np.savez(path, X=RNG.poisson(level).astype(np.uint16), perturbation=labels, var_names=np.array(genes))
    table = run(score, UNITS, truth=str(path))
    assert len(set(table.column("delta_pearson", "baseline"))) > 1
    assert (table.column("pds", "ref:ceiling") == 1).all()
