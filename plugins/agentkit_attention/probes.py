"""Linear probes on hidden states, and the smallest steps that move a hidden state to a wanted probability.

Multinomial logistic regression; editing after arXiv 2504.10227, generalised: with logits z = W h + b and
the margin g = z_t - logsumexp(z_others), the softmax probability of class t is sigmoid(g) exactly, and a
step along the gradient of g,

    G = w_t - sum_j s_j w_j,  s = softmax(z_others),   h <- h + max(0, logit(p*) - g) G / |G|²,

never overshoots, because g is concave. With two classes one step is the exact minimum-norm move; with more
the wanted probability is reached, and minimum norm is not claimed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, logit, logsumexp, softmax

from agentkit_attention.errors import BadLabelsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

TOLERANCE = 1e-6
CONSTANT = 1e-6
"""A feature whose spread is below this share of the largest one counts as constant and gets no weight."""

HALVINGS = 40
"""How often a step is halved before an item counts as unreachable."""


@dataclass(frozen=True)
class Probe:
    """A linear classifier in the model's own space: the standardisation is folded in.

    Attributes:
        weight: [classes, dim].
        bias: [classes].
    """

    weight: Array
    bias: Array

    def logits(self, hidden: Array) -> Array:
        """[items, classes] of hidden states [items, dim]."""
        scores: Array = hidden @ self.weight.T + self.bias
        return scores

    def probabilities(self, hidden: Array) -> Array:
        """[items, classes]."""
        return np.asarray(softmax(self.logits(hidden), axis=1))

    def nll(self, hidden: Array, labels: NDArray[np.int64]) -> float:
        """Mean negative log-likelihood in nats."""
        return float(-log_softmax(self.logits(hidden), axis=1)[np.arange(len(labels)), labels].mean())

    def accuracy(self, hidden: Array, labels: NDArray[np.int64]) -> float:
        """Share of items whose likeliest class is right."""
        return float((self.logits(hidden).argmax(1) == labels).mean())


def fit_probe(hidden: Array, labels: NDArray[np.int64], n_classes: int, C: float = 1.0) -> Probe:
    """Logistic regression with L2 penalty 1 / (2 C) on standardised features.

    Args:
        hidden: [items, dim].
        labels: [items] in 0 … n_classes - 1.
        n_classes: at least 2.
        C: inverse strength of the penalty, against the sum of the items' losses.

    Raises:
        BadLabelsError: fewer than two classes among the labels.
    """
    if len(np.unique(labels)) < 2:
        raise BadLabelsError("the labels to fit a probe on are of one class only")
    mean, spread = hidden.mean(0), hidden.std(0)
    varies = spread > CONSTANT * spread.max()  # dividing rounding noise by itself would invent a feature
    spread = np.where(varies, spread, 1.0)
    x, target = (hidden - mean) / spread * varies, np.eye(n_classes)[labels]

    def loss(flat: Array) -> tuple[float, Array]:
        weight, bias = flat[:-n_classes].reshape(n_classes, -1), flat[-n_classes:]
        z = x @ weight.T + bias
        rest = softmax(z, axis=1) - target
        value = -(log_softmax(z, axis=1) * target).sum() + (weight**2).sum() / (2 * C)
        return float(value), np.concatenate([(rest.T @ x + weight / C).ravel(), rest.sum(0)])

    start = np.zeros(n_classes * (x.shape[1] + 1))
    flat = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    weight = flat[:-n_classes].reshape(n_classes, -1) / spread
    return Probe(weight, flat[-n_classes:] - weight @ mean)


def margins(probe: Probe, hidden: Array, target: int) -> Array:
    """G = z_t - logsumexp of the other logits, [items]; its sigmoid is the probability of the target."""
    z = probe.logits(hidden)
    return np.asarray(z[:, target] - logsumexp(np.delete(z, target, axis=1), axis=1))


def edit_to(
    probe: Probe, hidden: Array, target: int, p_star: float, max_iter: int = 60
) -> tuple[Array, NDArray[np.bool_]]:
    """Move each hidden state until the probe gives the target at least probability `p_star`.

    Args:
        probe: the classifier whose probability counts.
        hidden: [items, dim]; states that are there already are returned bit for bit.
        target: the wanted class.
        p_star: the wanted probability, in (0, 1).
        max_iter: steps per item.

    Returns:
        The edited states [items, dim], and which items were reached; unreachable ones are left unedited.
    """
    edited, reached = climb(probe, hidden, target, p_star, max_iter)
    edited[~reached] = hidden[~reached]
    return edited, reached


def climb(
    probe: Probe, hidden: Array, target: int, p_star: float, max_iter: int
) -> tuple[Array, NDArray[np.bool_]]:
    """As `edit_to`, but items that are not there yet are returned where they got to."""
    goal = float(logit(p_star))
    edited, others = hidden.copy(), np.delete(probe.weight, target, axis=0)
    largest = np.linalg.norm(probe.weight, axis=1).max()
    g = margins(probe, edited, target)
    open_ = g < goal
    stuck = np.zeros(len(hidden), dtype=bool)
    for _ in range(max_iter):
        rows = np.flatnonzero(open_ & ~stuck)
        if len(rows) == 0:
            break
        z = np.delete(probe.logits(edited[rows]), target, axis=1)
        G = probe.weight[target] - softmax(z, axis=1) @ others
        length = (G**2).sum(1)
        usable = length > (TOLERANCE * largest) ** 2
        step = np.where(usable, (goal - g[rows]) / np.maximum(length, 1e-300), 0.0)
        moved, now = _rising_step(probe, edited[rows], target, step[:, None] * G, g[rows])
        stuck[rows[now <= g[rows]]] = True
        edited[rows], g[rows] = moved, now
        open_ = goal - g > TOLERANCE
    return edited, ~open_


def _rising_step(probe: Probe, hidden: Array, target: int, step: Array, before: Array) -> tuple[Array, Array]:
    """Take each item's step, halved until its margin rises; a step that never rises is not taken."""
    moved, after = hidden.copy(), before.copy()
    waiting, share = np.arange(len(hidden)), 1.0
    for _ in range(HALVINGS):
        trial = hidden[waiting] + share * step[waiting]
        g = margins(probe, trial, target)
        rose = g > before[waiting]
        moved[waiting[rose]], after[waiting[rose]] = trial[rose], g[rose]
        waiting, share = waiting[~rose], share / 2
        if len(waiting) == 0:
            break
    return moved, after


def closed_form(probe: Probe, hidden: Array, target: int, p_star: float) -> Array:
    """The published two-class step used whatever the number of classes: the benchmark's other side."""
    z = probe.logits(hidden)
    w = probe.weight[target]
    short = np.maximum(0.0, float(logit(p_star)) - z[:, target])
    return np.asarray(hidden + short[:, None] * w / (w @ w))
