import numpy as np
import pytest

from agentkit_attention.errors import BadLabelsError
from agentkit_attention.probes import Probe, climb, edit_to, fit_probe, margins


def blobs(n_classes, n=200, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = 2 * rng.standard_normal((n_classes, dim))
    labels = rng.integers(0, n_classes, n)
    return centres[labels] * np.linspace(0.5, 4, dim) + rng.standard_normal((n, dim)) + 3, labels


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("p_star", [0.5, 0.9, 0.99])
def test_every_item_reaches_the_wanted_probability(n_classes, p_star):
    hidden, labels = blobs(n_classes)
    probe = fit_probe(hidden, labels, n_classes)
    edited, reached = edit_to(probe, hidden, 1, p_star, max_iter=200)
    p = probe.probabilities(edited)[:, 1]
    low = probe.probabilities(hidden)[:, 1] < p_star
    assert reached.all()
    assert np.abs(p[low] - p_star).max() <= 1e-6
    assert (edited[~low] == hidden[~low]).all()


def test_two_classes_take_the_exact_minimum_norm_move():
    hidden, labels = blobs(2)
    probe = fit_probe(hidden, labels, 2)
    edited, _ = edit_to(probe, hidden, 0, 0.9)
    direction = probe.weight[0] - probe.weight[1]
    g = margins(probe, hidden, 0)
    gap = np.maximum(0, np.log(9) - g)
    np.testing.assert_allclose(edited, hidden + gap[:, None] * direction / (direction @ direction), atol=1e-9)


def test_a_target_inside_the_hull_of_the_others_is_unreachable_and_left_alone():
    weight = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    probe = Probe(weight, np.zeros(5))
    hidden = np.random.default_rng(0).standard_normal((20, 2))
    edited, reached = edit_to(probe, hidden, 0, 0.9)
    assert not reached.any()
    assert (edited == hidden).all()


def test_steps_never_lower_the_margin_and_never_overshoot():
    hidden, labels = blobs(5, seed=3)
    probe = fit_probe(hidden, labels, 5)
    before = start = margins(probe, hidden, 2)
    for steps in range(1, 8):
        g = margins(probe, climb(probe, hidden, 2, 0.9, steps)[0], 2)
        assert (g <= np.maximum(start, np.log(9)) + 1e-9).all()
        assert (g >= before).all()
        before = g


def test_a_probe_is_the_regularised_optimum_in_the_models_own_space():
    hidden, labels = blobs(3)
    probe = fit_probe(hidden, labels, 3, C=0.5)
    spread, p = hidden.std(0), probe.probabilities(hidden)
    x, target = (hidden - hidden.mean(0)) / spread, np.eye(3)[labels]
    gradient = (p - target).T @ x + probe.weight * spread / 0.5
    assert np.abs(gradient).max() < 0.05
    assert probe.accuracy(hidden, labels) > 0.9
    assert probe.nll(hidden, labels) < np.log(3)


def test_scikit_learn_fits_the_same_probe():
    linear_model = pytest.importorskip("sklearn.linear_model")
    hidden, labels = blobs(3)
    probe = fit_probe(hidden, labels, 3)
    x = (hidden - hidden.mean(0)) / hidden.std(0)
    theirs = linear_model.LogisticRegression(C=1.0, tol=1e-8, max_iter=2000).fit(x, labels)
    np.testing.assert_allclose(probe.probabilities(hidden), theirs.predict_proba(x), atol=1e-3)


def test_labels_of_one_class_are_refused():
    with pytest.raises(BadLabelsError, match="one class"):
        fit_probe(np.zeros((5, 2)), np.zeros(5, dtype=np.int64), 2)


def test_a_feature_that_only_holds_rounding_noise_gets_no_weight():
    hidden, labels = blobs(2)
    hidden[:, 3] = 1 + 1e-17 * labels
    hidden[:, 4] = 0.1 + 1e-12 * labels
    probe = fit_probe(hidden, labels, 2)
    assert not probe.weight[:, 3:5].any()
