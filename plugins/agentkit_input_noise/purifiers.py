"""Purifiers: functions that clean images of shape (items, channels, height, width) in [0, 1], each item alone.

All are deterministic, and a gradient passes through all of them, so that an attack may climb through them: through
rounding it passes straight, as if nothing were rounded (Athalye et al., arXiv 1802.00420).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Purifier = Callable[[Tensor], Tensor]

BLUR_PIXELS = 0.7
"""Standard deviation of the blur."""
VARIATION_WEIGHT, VARIATION_ROUNDS = 0.1, 20
"""How much total variation weighs against the distance to the image, and how often the solution is improved."""
DCT_STEP = 0.1
"""What the lowest coefficient of a block of 8 x 8 is rounded to; that of waves (u, v) is 1 + u + v times as coarse."""
KEPT_VARIANCE = 0.9
"""Share of the train images' variance that the components of `projection` hold."""


def purifier(name: str, data: Any) -> Purifier:
    """The purifier of that name; `projection` learns from the train images of `data`."""
    return projection(data.images[list(data.train)]) if name == "projection" else FIXED[name]


def blur(x: Tensor) -> Tensor:
    """Gaussian blur over 5 x 5 pixels."""
    at = torch.arange(-2, 3, dtype=x.dtype, device=x.device)
    weights = torch.exp(-(at**2) / (2 * BLUR_PIXELS**2))
    weights = weights / weights.sum()
    kernel = (weights[:, None] * weights)[None, None].expand(x.shape[1], 1, 5, 5)
    return functional.conv2d(_framed(x, 2), kernel, groups=x.shape[1])


def median(x: Tensor) -> Tensor:
    """Median of 3 x 3 pixels (feature squeezing: Xu, Evans and Qi, arXiv 1704.01155)."""
    windows = _framed(x, 1).unfold(2, 3, 1).unfold(3, 3, 1)
    middle: Tensor = windows.flatten(4).median(dim=4).values
    return middle


def total_variation(x: Tensor) -> Tensor:
    """The image of least squared distance plus weighted total variation (Chambolle, JMIV 20, 2004; Guo et al., 1711.00117)."""
    flow = torch.zeros((2, *x.shape), dtype=x.dtype, device=x.device)
    for _ in range(VARIATION_ROUNDS):
        slope = _slopes(_divergence(flow) - x / VARIATION_WEIGHT)
        size = (slope**2).sum(dim=0, keepdim=True).clamp_min(1e-12).sqrt()
        flow = (flow + 0.25 * slope) / (1 + 0.25 * size)
    return (x - VARIATION_WEIGHT * _divergence(flow)).clamp(0, 1)


def dct(x: Tensor) -> Tensor:
    """Blocks of 8 x 8 pixels whose cosine coefficients are rounded, as JPEG rounds them (Guo et al., 1711.00117)."""
    height, width = x.shape[2:]
    full = functional.pad(x, (0, -width % 8, 0, -height % 8), mode="replicate")
    at = torch.arange(8, dtype=x.dtype, device=x.device)
    waves = torch.cos(math.pi * at[:, None] * (2 * at + 1) / 16) / 2
    waves = torch.cat([waves[:1] / math.sqrt(2), waves[1:]])  # orthonormal: rows are waves
    step = DCT_STEP * (1 + at[:, None] + at)
    blocks = full.unfold(2, 8, 8).unfold(3, 8, 8)
    turned = waves @ blocks @ waves.T / step
    rounded = turned + (turned.round() - turned).detach()
    cleaned = waves.T @ (rounded * step) @ waves
    whole = cleaned.transpose(3, 4).reshape(full.shape)
    return whole[..., :height, :width].clamp(0, 1)


def projection(train: Tensor) -> Purifier:
    """Onto the mean and the first principal components of train images (Bhagoji et al., arXiv 1704.02654)."""
    flat = train.flatten(1).double()
    mean = flat.mean(dim=0)
    _, sizes, components = torch.linalg.svd(flat - mean, full_matrices=False)
    share = (sizes**2).cumsum(0) / (sizes**2).sum()
    basis = components[: int((share < KEPT_VARIANCE).sum()) + 1]

    def project(x: Tensor) -> Tensor:
        axes, centre = basis.to(x), mean.to(x)
        cleaned = centre + ((x.flatten(1) - centre) @ axes.T) @ axes
        whole: Tensor = cleaned.reshape(x.shape)
        return whole.clamp(0, 1)

    return project


FIXED: dict[str, Purifier] = {
    "blur": blur, "median": median, "total_variation": total_variation, "dct": dct,
}  # fmt: skip
"""Purifiers that learn nothing."""


def _framed(x: Tensor, pixels: int) -> Tensor:
    """Images with their border repeated around them."""
    return functional.pad(x, (pixels, pixels, pixels, pixels), mode="replicate")


def _slopes(x: Tensor) -> Tensor:
    """Differences to the next pixel down and right, zero at the border, shape (2, *x.shape)."""
    return torch.stack([
        functional.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1)),
        functional.pad(x[..., 1:] - x[..., :-1], (0, 1)),
    ])  # fmt: skip


def _divergence(flow: Tensor) -> Tensor:
    """Minus the transpose of `_slopes`."""
    down, right = (
        functional.pad(flow[0, ..., :-1, :], (0, 0, 1, 1)),
        functional.pad(flow[1, ..., :-1], (1, 1)),
    )
    return (down[..., 1:, :] - down[..., :-1, :]) + (right[..., 1:] - right[..., :-1])
