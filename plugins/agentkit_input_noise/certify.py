"""Certification of many images on one shared stream of noise: the kernel of `noise.certify`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from agentkit import BASELINE, Measurements
from agentkit_input_noise import classify, curve_files, smoothing
from agentkit_input_noise.errors import UnreachableRadiusError
from agentkit_input_noise.needs import CLASSIFIER, IMAGES, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from agentkit import Context, Metric, Unit
    from agentkit_input_noise.certify_tool import Certify
    from agentkit_input_noise.classify import Classifier

METRICS = ("certified", "undecided", "forwards_per_item", "mean_radius")
ROWS_ON_CPU = 128
"""Rows of one forward on a CPU: activations that stay in its cache are 1.8 times quicker than 8,192 rows."""

ROWS_ON_GPU = 8_192
MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class Decisions:
    """What one unit's draws say about its items.

    Attributes:
        guess: class guessed for each item, shape (items,).
        certified: whether each radius is certified for the guess, shape (items, radii).
        undecided: whether neither certificate nor refusal was reached, shape (items, radii).
        forwards: forward passes until decided, shape (items, radii).
        radius: largest certified radius up to each radius, shape (items, radii).
    """

    guess: NDArray[np.int64]
    certified: NDArray[np.bool_]
    undecided: NDArray[np.bool_]
    forwards: NDArray[np.int64]
    radius: NDArray[np.float64]


class NoiseStream:
    """Blocks of smoothing noise of one unit, shared by all its items and drawn on the CPU in order.

    Args:
        unit: whose draws they are.
        shape: of one image.
        sigma: standard deviation.
        name: which of the unit's streams: draws of the guess are never used again.
    """

    def __init__(self, unit: Unit, shape: Sequence[int], sigma: float, name: str) -> None:
        self._generator = unit.torch_generator(f"noise.certify.{name}")
        self._shape, self._sigma = tuple(shape), sigma

    def block(self, draws: int) -> Tensor:
        """The next draws, shape (draws, channels, height, width)."""
        return self._sigma * torch.randn((draws, *self._shape), generator=self._generator)


def measure(params: Certify, units: Sequence[Unit], ctx: Context, metrics: Sequence[Metric]) -> Measurements:
    """All radii on all units; see the tool's docstring."""
    classifier, data = fetch(ctx, params.target, CLASSIFIER), fetch(ctx, params.data, IMAGES)
    require_reachable(params)
    conditions = [BASELINE, *(f"r={r:g}" for r in params.radii)]
    values = np.zeros((len(METRICS), len(units), len(conditions)))
    for u, unit in enumerate(units):
        images, labels = classify.labelled(data, data.draw(unit.rng("items"), params.items))
        if u == 0:
            classify.require_usable(classifier, data, images, ctx.device, ctx.batch)
        plain = classify.logits(classifier, images, ctx.device, ctx.batch).argmax(dim=1)
        values[:, u, 0] = (float((plain == labels).double().mean()), 0, 1, 0)
        found = decide(params, unit, images, classifier, ctx)
        right = (found.guess == labels.numpy())[:, None]
        values[0, u, 1:] = (found.certified & right).mean(axis=0)
        values[1, u, 1:] = found.undecided.mean(axis=0)
        values[2, u, 1:] = found.forwards.mean(axis=0)
        values[3, u, 1:] = (found.radius * right).mean(axis=0)
        ctx.progress(u + 1, len(units))
    table = Measurements.from_arrays(units, conditions, dict(zip(METRICS, values, strict=True)))
    draw(ctx, params, table, metrics)
    return table


def require_reachable(params: Certify) -> None:
    """Refuse radii that no outcome of the draws could certify.

    Raises:
        UnreachableRadiusError: with the largest reachable radius.
    """
    if params.mode == "fixed":
        largest = smoothing.largest_fixed_radius(params.n, params.sigma, params.alpha)
    else:
        looks = -(-params.cap // params.block) * params.block
        largest = smoothing.largest_sequential_radius(looks, params.sigma, params.alpha)
    if params.radii[-1] >= largest:
        more = "n" if params.mode == "fixed" else "cap"
        raise UnreachableRadiusError(
            f"radius {params.radii[-1]:g} cannot be certified: {params.most_draws} draws that all agree reach "
            f"{largest:.4g} at sigma {params.sigma:g}; ask for less, or raise {more} or sigma"
        )


def decide(params: Certify, unit: Unit, images: Tensor, classifier: Classifier, ctx: Context) -> Decisions:
    """Guess each item's class, then certify radii for the guess on fresh draws."""
    guesses = NoiseStream(unit, images.shape[1:], params.sigma, "guess")
    counts = votes(classifier, images, guesses.block(params.guess_draws), ctx)
    guess = counts.argmax(axis=1)
    fresh = NoiseStream(unit, images.shape[1:], params.sigma, "fresh")
    walk = walk_sequentially if params.mode == "sequential" else draw_fixed
    return walk(params, guess, fresh, images, classifier, ctx)


def walk_sequentially(
    params: Certify,
    guess: NDArray[np.int64],
    fresh: NoiseStream,
    images: Tensor,
    classifier: Classifier,
    ctx: Context,
) -> Decisions:
    """Walk each item up the radii until one is refused; a decided item takes no more draws.

    The nulls of larger radii hold those of smaller ones, so the whole walk errs with at most alpha per item.
    """
    items, radii = len(guess), np.array(params.radii)
    p0 = smoothing.probability_at(radii, params.sigma)
    at = np.zeros(items, dtype=np.int64)  # the radius that each item is being tested for
    hits, last = np.zeros_like(at), np.zeros_like(at)
    refused = np.zeros(items, dtype=np.bool_)
    forwards = np.zeros((items, len(radii)), dtype=np.int64)
    active, drawn = np.arange(items), 0
    while len(active) and drawn < params.cap:
        drawn += params.block
        counts = votes(classifier, images[torch.from_numpy(active)], fresh.block(params.block), ctx)
        hits[active] += counts[np.arange(len(active)), guess[active]]
        last[active] = drawn
        step = climb(hits[active], drawn, at[active], p0, params.alpha)
        passed = (np.arange(len(radii)) >= at[active, None]) & (np.arange(len(radii)) < step[:, None])
        forwards[active] = np.where(passed, drawn, forwards[active])
        at[active] = step
        bound = smoothing.upper_bound(hits[active], drawn, params.alpha)
        refused[active] = bound < np.append(p0, 0.0)[step]
        active = active[(step < len(radii)) & ~refused[active]]
    certified = np.arange(len(radii)) < at[:, None]
    return Decisions(
        guess=guess,
        certified=certified,
        undecided=~certified & ~refused[:, None],
        forwards=np.where(certified, forwards, last[:, None]) + params.guess_draws,
        radius=np.maximum.accumulate(certified * radii, axis=1),
    )


def climb(
    hits: NDArray[np.int64], drawn: int, at: NDArray[np.int64], p0: NDArray[np.float64], alpha: float
) -> NDArray[np.int64]:
    """The first radius from `at` on whose evidence does not reach 1/alpha, shape (items,)."""
    evidence = smoothing.log_evidence(hits[:, None], drawn, p0)
    short = (evidence < -math.log(alpha)) & (np.arange(len(p0)) >= at[:, None])
    return np.where(short.any(axis=1), short.argmax(axis=1), len(p0))


def draw_fixed(
    params: Certify,
    guess: NDArray[np.int64],
    fresh: NoiseStream,
    images: Tensor,
    classifier: Classifier,
    ctx: Context,
) -> Decisions:
    """Cohen's procedure: n draws for every item, whatever is asked; abstain where p may be below 1/2."""
    hits = np.zeros_like(guess)
    for draws in _blocks(params.n, params.block):
        counts = votes(classifier, images, fresh.block(draws), ctx)
        hits += counts[np.arange(len(guess)), guess]
    reached = smoothing.fixed_radius(hits, params.n, params.sigma, params.alpha)
    radii = np.array(params.radii)
    certified = reached[:, None] >= radii
    return Decisions(
        guess=guess,
        certified=certified,
        undecided=np.broadcast_to(reached[:, None] == 0, certified.shape),
        forwards=np.full(certified.shape, params.n + params.guess_draws),
        radius=np.minimum(reached[:, None], radii),
    )


@torch.no_grad()
def votes(classifier: Classifier, images: Tensor, noise: Tensor, ctx: Context) -> NDArray[np.int64]:
    """How often each class wins for each image under the same noise, shape (images, classes)."""
    most = ROWS_ON_CPU if ctx.device == "cpu" else ROWS_ON_GPU
    rows = min(most, MOST_BYTES // (4 * images[0].numel()), ctx.batch or most)
    draws = max(1, min(len(noise), rows))
    counts = [
        torch.stack([_count(classifier, some, part, ctx.device) for part in torch.split(noise, draws)]).sum(
            dim=0
        )
        for some in torch.split(images, max(1, rows // draws))
    ]
    return torch.cat(counts).numpy()


def _count(classifier: Classifier, images: Tensor, noise: Tensor, device: str) -> Tensor:
    outputs = classifier((images[:, None] + noise).flatten(0, 1).to(device)).cpu()
    winners = outputs.argmax(dim=1).view(len(images), len(noise))
    empty = torch.zeros(len(images), outputs.shape[1], dtype=torch.int64)
    return empty.scatter_add_(1, winners, torch.ones_like(winners))


def _blocks(total: int, size: int) -> Iterator[int]:
    """Sizes of blocks that make up `total` draws."""
    for start in range(0, total, size):
        yield min(size, total - start)


def draw(ctx: curve_files.Files, params: Certify, table: Measurements, metrics: Sequence[Metric]) -> None:
    """Store the certified accuracy by radius with an interval over units, and the claims worth registering."""
    if ctx.conditions is not None or len(table.units) < 2:
        return
    radii = np.array([0.0, *params.radii])
    levels = table.array("certified")
    rows = []
    for radius, column in zip(radii, levels.T, strict=True):
        half = curve_files.t_half_width(column)
        mean = float(column.mean())
        rows.append(
            {
                "radius": float(radius),
                "certified": mean,
                "low": max(mean - half, 0),
                "high": min(mean + half, 1),
            }
        )
    ctx.artifact(
        "certified.json", {"mode": params.mode, "sigma": params.sigma, "alpha": params.alpha, "curve": rows}
    )
    names = [BASELINE, *(f"r={r:g}" for r in params.radii)]
    means = {row_name: float(column.mean()) for row_name, column in zip(names, levels.T, strict=True)}
    ctx.artifact("contrasts.json", [
        curve_files.claim(f"certified share lost at {name}", {name: 1.0, BASELINE: -1.0}, "less", metrics[0], means)
        for name in names[1:]
    ])  # fmt: skip
    ctx.artifact("certified.svg", curve_files.draw_band(
        radii, [r["certified"] for r in rows], [r["low"] for r in rows], [r["high"] for r in rows],
        x="L2 radius", y="certified and right", label=f"{params.mode}, sigma {params.sigma:g} (mean, 95 % over units)",
    ))  # fmt: skip
