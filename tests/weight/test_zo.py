"""Zeroth-order estimates are unbiased, and their faults are named."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from agentkit.errors import ParamError
from agentkit_weight import zo
from agentkit_weight.branches import LowRank, PerturbContext
from agentkit_weight.errors import DegenerateLossError, NonFiniteLossError, PrecisionError
from agentkit_weight.noise import sign_factors
from agentkit_weight.sites import find_sites, weight_of
from agentkit_weight.tiny import TinyObjective, tiny_batch, tiny_net


def slope_and_gradient(rank: int, seeds: int):
    """Mean of `seeds` two-sided estimates g Z / rank, the true gradient (flat, float64), and each estimate's
    length along the gradient in units of the gradient's own."""
    net = tiny_net().double()
    sites = find_sites(net)
    x, labels = tiny_batch(rows=64)
    x = x.double()
    weights = [weight_of(s).requires_grad_(True) for s in sites.values()]
    loss = functional.cross_entropy(net(x), labels)
    truth = torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])
    shapes = [tuple(w.shape) for w in weights]
    mean, eps, lengths = torch.zeros_like(truth), 2**-14, []
    with torch.no_grad(), PerturbContext(sites) as context:
        for seed in range(seeds):
            factors = [
                LowRank(torch.tensor(u).double(), torch.tensor(v).double())
                for u, v in sign_factors(seed, 0, 0, 0, shapes, rank)
            ]
            sides = []
            for sign in (eps, -eps):
                context.put("z", {n: f.scaled(sign) for n, f in zip(sites, factors, strict=True)})
                sides.append(functional.cross_entropy(net(x), labels))
            slope = (sides[0] - sides[1]) / (2 * eps)
            estimate = slope * torch.cat([f.dense().flatten() for f in factors]) / rank
            mean += estimate / seeds
            lengths.append(float(estimate @ truth / (truth @ truth)))
    return mean, truth, lengths


@pytest.mark.parametrize("rank", [1, 4])
def test_the_mean_estimate_is_the_gradient_in_direction_and_length(rank: int):
    seeds = 3000
    mean, truth, lengths = slope_and_gradient(rank, seeds)
    cosine = float(mean @ truth / mean.norm() / truth.norm())
    if rank == 1:  # the law for P probes in d weights
        assert cosine == pytest.approx(math.sqrt(seeds / (seeds + truth.numel() - 1)), abs=0.02)
    assert cosine > 0.94
    standard_error = np.std(lengths) / math.sqrt(seeds)
    assert standard_error < 0.05
    assert np.mean(lengths) == pytest.approx(1, abs=3 * standard_error)  # without 1/k it would be 4 at rank 4


def test_the_two_sided_slope_approaches_the_exact_one_quadratically():
    net = tiny_net().double()
    sites = find_sites(net)
    x, labels = tiny_batch()
    x = x.double()
    factors = sign_factors(1, 0, 0, 0, [tuple(weight_of(s).shape) for s in sites.values()], 1)
    directions = {
        n: LowRank(torch.tensor(u).double(), torch.tensor(v).double())
        for n, (u, v) in zip(sites, factors, strict=True)
    }
    with torch.no_grad(), PerturbContext(sites) as context:

        def along(size):
            context.put("z", {n: d.scaled(size) for n, d in directions.items()})
            return functional.cross_entropy(net(x), labels)

        zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
        exact = torch.func.jvp(along, (zero,), (one,))[1]
        eps = np.array([2.0**-e for e in range(3, 9)])
        errors = [abs(float((along(e) - along(-e)) / (2 * e) - exact)) for e in eps]
    slope = np.polyfit(np.log(eps), np.log(errors), 1)[0]
    assert slope == pytest.approx(2, abs=0.1)


def test_training_by_probes_alone_lowers_the_loss_and_writes_no_weight():
    objective = TinyObjective()
    before = {n: w.clone() for n, w in objective.matrices().items()}
    spec = zo.make_spec(objective, run_seed=2, steps=300, lr=0.05)
    worker = zo.ZoWorker(objective, spec)
    losses = []
    for step in range(300):
        probe = worker.probe(step)
        worker.apply([probe.record])
        losses.append(probe.loss)
    assert np.mean(losses[-50:]) < np.mean(losses[:50]) - 0.1
    assert all(torch.equal(before[n], w) for n, w in objective.matrices().items())
    assert worker.digest() != spec.base_sha256


def test_jvp_and_spsa_write_the_same_byte():
    spec = zo.make_spec(TinyObjective(), run_seed=3, steps=10)
    exact = dataclasses.replace(spec, estimator="jvp")
    pairs = [
        (
            zo.ZoWorker(TinyObjective(), spec).probe(s).record.byte,
            zo.ZoWorker(TinyObjective(), exact).probe(s).record.byte,
        )
        for s in range(8)
    ]
    assert all(abs(a - b) <= 1 for a, b in pairs)


@pytest.mark.parametrize("eps", [0.0, -0.1, 0.2])
def test_an_eps_outside_its_range_is_refused(eps: float):
    with pytest.raises(ParamError, match=r"\(0, 0.125\]"):
        zo.make_spec(TinyObjective(), run_seed=1, steps=1, eps=eps)


def test_a_rank_above_the_smallest_side_is_refused():
    with pytest.raises(ParamError, match=r"1\.\.4"):
        zo.make_spec(TinyObjective(), run_seed=1, steps=1, rank=5)


class Constant(TinyObjective):
    def __init__(self, loss: float) -> None:
        super().__init__()
        self.loss = loss

    def value(self, step, worker, branches):
        return torch.tensor(self.loss), self.rows


@pytest.mark.parametrize(("loss", "error"), [(math.nan, NonFiniteLossError), (0.0, DegenerateLossError)])
def test_a_loss_that_says_nothing_stops_the_run(loss: float, error: type[Exception]):
    objective = Constant(loss)
    worker = zo.ZoWorker(objective, zo.make_spec(objective, run_seed=1, steps=20))
    with pytest.raises(error, match="step"):
        for step in range(20):
            assert worker.probe(step).record.byte == 0


def test_eps_below_half_an_ulp_of_a_bfloat16_matrix_is_refused():
    with pytest.raises(PrecisionError, match="bfloat16"):
        zo.require_precision({"w": torch.full((4, 4), 8.0, dtype=torch.bfloat16)}, 2**-10)
