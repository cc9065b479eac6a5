"""Curvature estimates equal the dense truth on a network of 164 weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from agentkit_weight.curvature import row_sums, softened_divergence
from agentkit_weight.hessian import Hessian, hutchinson, interval, lanczos, rademacher
from agentkit_weight.tiny import tiny_batch, tiny_net


@pytest.fixture(scope="module")
def problem():
    """Hessian operator and dense Hessian of the tiny network's loss in its two matrices, float64."""
    net = tiny_net().double()
    x, labels = tiny_batch(rows=48)
    x = x.double()
    point = {"0.weight": net[0].weight.detach(), "2.weight": net[2].weight.detach()}

    def loss(weights):
        return functional.cross_entropy(torch.func.functional_call(net, dict(weights), (x,)), labels)

    hessian = Hessian(loss, point)
    flat = torch.cat([w.reshape(-1) for w in point.values()])

    def of_flat(vector):
        return loss(hessian.split(vector))

    return hessian, torch.autograd.functional.hessian(of_flat, flat)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_products_equal_the_dense_hessian(problem):
    hessian, dense = problem
    v = torch.randn(hessian.size, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(hessian(v), dense @ v, rtol=1e-10, atol=1e-12)


def test_lanczos_finds_the_dense_eigenvalue_and_its_residual_is_true(problem):
    hessian, dense = problem
    start = torch.randn(hessian.size, generator=generator(), dtype=torch.float64)
    exact = float(torch.linalg.eigvalsh(dense)[-1])
    tight = lanczos(hessian, start, 100, tolerance=1e-6)
    assert tight.value == pytest.approx(exact, rel=1e-6)
    loose = lanczos(hessian, start, 8, tolerance=0)
    assert loose.steps == 8
    assert loose.value <= exact + 1e-12  # a Ritz value never exceeds it
    assert exact - loose.value <= loose.residual


def test_lanczos_stops_on_its_tolerance_with_few_products(problem):
    hessian, dense = problem
    start = torch.randn(hessian.size, generator=generator(), dtype=torch.float64)
    found = lanczos(hessian, start, 100)
    assert found.steps < 60
    assert found.value == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-3)


def test_trace_intervals_cover_the_truth_as_often_as_they_say(problem):
    hessian, dense = problem
    truth = float(dense.trace())
    draws = np.array(
        [
            float(v @ (dense @ v))
            for v in (rademacher(hessian.size, generator(s), torch.float64) for s in range(400 * 32))
        ]
    )
    covered = [(t := interval(list(part))).low <= truth <= t.high for part in draws.reshape(400, 32)]
    assert 0.90 <= np.mean(covered) <= 0.99
    estimate = hutchinson(hessian, hessian.size, 64, generator(), torch.float64)
    assert estimate.low <= truth <= estimate.high


def test_row_sums_equal_the_dense_hessian_times_ones():
    net = tiny_net().double()
    x, _ = tiny_batch(rows=3)
    hidden = torch.tanh(net[0](x.double()))
    clean = net[2](hidden)

    def loss(shift):
        return softened_divergence(net[2](hidden + shift), clean, 20.0)

    dense = torch.autograd.functional.hessian(loss, torch.zeros_like(hidden)).reshape(hidden.numel(), -1)
    expected = dense.sum(1).abs().reshape(hidden.shape)
    torch.testing.assert_close(row_sums(loss, hidden), expected, rtol=1e-8, atol=1e-14)


def test_a_divergence_from_itself_is_zero_with_zero_slope():
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    divergence = softened_divergence(logits, logits.detach(), 20.0)
    assert float(divergence.detach()) == 0
    assert math.isclose(float(torch.autograd.grad(divergence, logits)[0].abs().max()), 0, abs_tol=1e-15)
