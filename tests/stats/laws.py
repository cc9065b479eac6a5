"""Null laws and stream builders shared by the tests of this folder."""

import numpy as np

from agentkit.stats.eprocess import streams


def one(test, differences, lo=-1.0, hi=1.0, failed=None):
    """A single stream."""
    return many(test, [differences], lo, hi, None if failed is None else [failed])


def many(test, differences, lo=-1.0, hi=1.0, failed=None):
    """Streams that share one range."""
    failed = [np.zeros(len(d), bool) for d in differences] if failed is None else failed
    return streams(test, differences, failed, [lo] * len(differences), [hi] * len(differences))


def clipped_gaussian(rng, shape):
    return np.clip(rng.normal(0, 0.5, shape), -1, 1)


def clipped_t2(rng, shape):
    return np.clip(rng.standard_t(2, shape) / 4, -1, 1)


def coins(rng, shape):
    return rng.choice([-1.0, 1.0], shape)


def ternary(rng, shape):
    return rng.choice([-1.0, 0.0, 1.0], shape, p=[0.1, 0.8, 0.1])


def rare_loss(rng, shape):
    """Mean 0: mostly a gain of .1, one time in ten a loss of .9."""
    return np.where(rng.random(shape) < 0.1, -0.9, 0.1)


def skewed_beta(rng, shape):
    """Mean 0, skewed, continuous."""
    return rng.beta(0.5, 2, shape) - 0.2


def gaussian(rng, shape):
    return rng.normal(0, 1, shape)


def t2(rng, shape):
    return rng.standard_t(2, shape)


def cauchy(rng, shape):
    return rng.standard_cauchy(shape)


def bursts(rng, shape):
    """Symmetric given the past, with a spread that follows it."""
    noise = rng.normal(0, 1, shape)
    out = np.zeros(shape)
    spread = np.ones(shape[0])
    for s in range(shape[1]):
        out[:, s] = noise[:, s] * spread
        spread = 0.1 + np.abs(out[:, s]) * np.where(out[:, s] > 0, 2, 0.5)
    return out


def median_zero_skewed(rng, shape):
    """P(D>0) = P(D<0), mean far from 0."""
    size = rng.exponential(1, shape)
    return np.where(rng.random(shape) < 0.5, -0.1 * size, 3 * size)


BOUNDED_NULLS = [clipped_gaussian, clipped_t2, coins, ternary, rare_loss, skewed_beta]
SYMMETRIC_NULLS = [gaussian, t2, cauchy, ternary, bursts]
SIGN_NULLS = [gaussian, t2, ternary, median_zero_skewed]
ALL_NULLS = [
    *(("bounded_mean", law) for law in BOUNDED_NULLS),
    *(("sharp", law) for law in SYMMETRIC_NULLS),
    *(("sign", law) for law in SIGN_NULLS),
]
NULL_IDS = [f"{test}-{law.__name__}" for test, law in ALL_NULLS]
