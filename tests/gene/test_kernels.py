"""Kernels against laws that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from agentkit_gene.simulation.model import build_model
from agentkit_gene.simulation.network import Edge, Gene, Network
from tests.gene.kit import cells_of, chi_square, constitutive


@pytest.mark.parametrize(("form", "share"), [("dpd", 1.0), ("sp", 0.5)])
def test_langevin_at_high_rate_has_the_mean_and_variance_of_its_noise_form(form: str, share: float) -> None:
    mu, q = 400.0, 0.8
    x = cells_of(constitutive(mu), kernel="cle", dt=0.05, cells=32_000, form=form, q=q).level.ravel()
    assert x.mean() == pytest.approx(mu, rel=0.01)
    assert x.var() == pytest.approx(
        q * q * mu * share, rel=0.025
    )  # sd of a variance over 32 000 cells: 0.8 %


def test_langevin_follows_a_shifted_gamma_law() -> None:
    mu = 60.0
    x = cells_of(constitutive(mu), kernel="cle", dt=0.01, cells=4096).level.ravel()
    assert stats.kstest(x + mu, stats.gamma(4 * mu, scale=0.5).cdf).pvalue > 1e-3


def _clamped_gamma(mu: float) -> tuple[float, float]:
    """Mean and variance of the law of x + mu ~ Gamma(4 mu, 1/2), cut to x > 0."""
    law = stats.gamma(4 * mu, scale=0.5)
    mass = law.sf(mu)
    first = integrate.quad(lambda y: (y - mu) * law.pdf(y), mu, mu + 60)[0] / mass
    second = integrate.quad(lambda y: (y - mu) ** 2 * law.pdf(y), mu, mu + 60)[0] / mass
    return first, second - first**2


@pytest.mark.parametrize(
    "mu", [0.32, pytest.param(0.98, marks=pytest.mark.slow), pytest.param(1.21, marks=pytest.mark.slow)]
)  # slow: 25 600 cells at a fine step, 4 s each
def test_clamped_langevin_is_biased_exactly_as_the_cut_gamma_says(mu: float) -> None:
    """Clamping converges with sqrt(dt) only, so two steps a factor 4 apart are extrapolated."""
    mean, var = _clamped_gamma(mu)
    settings = {"kernel": "cle", "cells": 25_600, "burn_in": 7.0, "euler": True}
    coarse, fine = (cells_of(constitutive(mu), dt=dt, **settings).level.ravel() for dt in (0.01, 0.0025))
    assert 2 * fine.mean() - coarse.mean() == pytest.approx(mean, rel=0.03)
    assert 2 * fine.var() - coarse.var() == pytest.approx(var, rel=0.07)
    assert abs(coarse.mean() - mean) < 0.06 * mean
    if mu == 0.32:
        assert coarse.mean() > 1.6 * mu  # the bias that makes leap the default


@pytest.mark.parametrize(("mu", "dt"), [(0.32, 0.4), (5.0, 0.4), (5.0, 0.02)])
def test_leap_is_poisson_at_any_step_for_a_constant_rate(mu: float, dt: float) -> None:
    n = 32_000 if dt == 0.4 else 6400
    x = cells_of(constitutive(mu), dt=dt, cells=n).level.ravel()
    assert chi_square(x, stats.poisson(mu)) > 1e-3
    assert x.mean() == pytest.approx(mu, abs=4 * np.sqrt(mu / n))
    assert x.var() == pytest.approx(mu, abs=4 * np.sqrt((mu + 2 * mu * mu) / n))


def test_autocorrelation_decays_with_the_decay_rate() -> None:
    """Levels 100 steps of 0.01 apart correlate as e^(-decay): Wiener increments scale with sqrt(dt)."""
    early = cells_of(constitutive(400.0), kernel="cle", dt=0.01, cells=12_800, burn_in=8.0).level.ravel()
    late = cells_of(constitutive(400.0), kernel="cle", dt=0.01, cells=12_800, burn_in=9.0).level.ravel()
    assert np.corrcoef(early, late)[0, 1] == pytest.approx(np.exp(-0.8), abs=0.02)


def test_variance_does_not_depend_on_the_step() -> None:
    coarse = cells_of(constitutive(400.0), kernel="cle", dt=0.01, cells=51_200, burn_in=5.0, euler=True)
    fine = cells_of(
        constitutive(400.0), kernel="cle", dt=0.0025, cells=51_200, burn_in=5.0, seed=8, euler=True
    )
    assert coarse.level.var() == pytest.approx(fine.level.var(), rel=0.02)  # two sds of 0.6 % each


def _strata() -> Network:
    """Three masters and the genes they drive: levels below 1.5, from 1.5 to 5, and above 5."""
    masters = tuple(Gene(f"M{i}", 0.8, (b,)) for i, b in enumerate((0.7, 2.0, 8.0)))
    driven = tuple(
        Gene(f"T{i}{j}", 0.8, (0.0,), (Edge(f"M{i}", k),))
        for i in range(3)
        for j, k in enumerate((1.0, 3.0, 12.0))
    )
    return Network("strata", masters + driven)


def test_leap_is_within_two_percent_of_a_fine_step_in_every_stratum_of_expression() -> None:
    model = build_model(_strata())
    wide = cells_of(model, dt=0.2, cells=19_200).level[:, 0].mean(axis=1, dtype=np.float64)
    fine = cells_of(model, dt=0.02, cells=6400, burn_in=10.0).level[:, 0].mean(axis=1, dtype=np.float64)
    program = model.program([])
    level = model.wild_type[program.gene, 0]
    for low, high in ((0, 1.5), (1.5, 5), (5, np.inf)):
        chosen = (level >= low) & (level < high)
        assert chosen.any()
        assert wide[chosen].sum() == pytest.approx(fine[chosen].sum(), rel=0.02)
