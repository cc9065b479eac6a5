"""Noise on images in [0, 1]: the random numbers of a unit are drawn once and shared by every strength."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from agentkit import Unit

EDGE_SHARE = 0.1
"""Share of the mean gradient that a flat region still counts, so that no pixel's noise is exactly zero."""


class PixelNoise:
    """One kind of noise on fixed images; `at(s)` gives the images at strength s.

    Args:
        images: shape (items, channels, height, width), in [0, 1].
        kind: one of `KINDS`.
        unit: where the random numbers come from; `edge_weighted` uses those of `gaussian`.
    """

    def __init__(self, images: Tensor, kind: str, unit: Unit) -> None:
        self._images = images
        self._apply = KINDS[kind](images, unit)

    def at(self, strength: float) -> Tensor:
        """The images at a strength in (0, 1], clipped to [0, 1]; at 0 they are the images that were given."""
        return self._images if strength == 0 else self._apply(strength).clamp(0, 1)


def _normal(images: Tensor, unit: Unit) -> Tensor:
    return torch.randn(images.shape, generator=unit.torch_generator("noise.image.gaussian"))


def _uniform_draw(images: Tensor, unit: Unit, stream: str) -> Tensor:
    return torch.rand(
        images.shape, generator=unit.torch_generator(f"noise.image.{stream}"), dtype=torch.float64
    )


def _gaussian(images: Tensor, unit: Unit) -> Callable[[float], Tensor]:
    """Strength is the standard deviation."""
    z = _normal(images, unit)
    return lambda sigma: images + sigma * z


def _edge_weighted(images: Tensor, unit: Unit) -> Callable[[float], Tensor]:
    """Gaussian noise in proportion to the local gradient, with the sum of squares of the plain arm.

    After uncertainty-weighted noise (UPSR); strength is the plain arm's standard deviation.
    """
    z, weight = _normal(images, unit), edge_weights(images)
    return lambda sigma: images + sigma * weight * z


def edge_weights(images: Tensor) -> Tensor:
    """Local gradient magnitude, scaled per item to a mean square of 1; all ones where an item is flat."""
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    size = (dx**2 + dy**2).sqrt()
    weight = size + EDGE_SHARE * size.mean(dim=(1, 2, 3), keepdim=True)
    square = (weight**2).mean(dim=(1, 2, 3), keepdim=True)
    return torch.where(square > 0, weight / square.sqrt().clamp_min(1e-12), torch.ones_like(weight))


def _uniform(images: Tensor, unit: Unit) -> Callable[[float], Tensor]:
    """Strength is the half-width: noise is even in [-s, s]."""
    u = (2 * _uniform_draw(images, unit, "uniform") - 1).float()
    return lambda half_width: images + half_width * u


def _impulse(images: Tensor, unit: Unit) -> Callable[[float], Tensor]:
    """Strength is the share of values set to 0 or 1, nested in strength (salt and pepper)."""
    u = _uniform_draw(images, unit, "impulse")
    salt = (_uniform_draw(images, unit, "impulse.colour") < 0.5).to(images.dtype)
    return lambda share: torch.where(u < share, salt, images)


def _shot(images: Tensor, unit: Unit) -> Callable[[float], Tensor]:
    """Photon noise; strength is the standard deviation of a white pixel. One quantile serves all strengths."""
    from scipy.stats import poisson

    u, level = _uniform_draw(images, unit, "shot").numpy(), images.double().numpy()

    def apply(sigma: float) -> Tensor:
        photons = sigma**-2.0
        return torch.from_numpy((poisson.ppf(u, level * photons) / photons).astype(np.float32))

    return apply


KINDS: dict[str, Callable[[Tensor, Unit], Callable[[float], Tensor]]] = {
    "gaussian": _gaussian,
    "uniform": _uniform,
    "impulse": _impulse,
    "shot": _shot,
    "edge_weighted": _edge_weighted,
}
