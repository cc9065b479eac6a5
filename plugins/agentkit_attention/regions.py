"""Regions of an image, what stands in their place, and rankings of them by what a classifier says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from agentkit.errors import ParamError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor

    Score = Callable[[Tensor], Tensor]

BATCH = 256
GREY = 0.5


@dataclass(frozen=True)
class Regions:
    """A grid of equal cells over images of one size.

    Attributes:
        cell: which region each pixel belongs to, int64 [height, width].
        count: how many there are.
    """

    cell: Tensor
    count: int

    def mask(self, shown: Tensor) -> Tensor:
        """Pixel masks [n, 1, height, width] of which regions are shown, boolean [n, regions]."""
        return shown[:, self.cell][:, None].float()

    def pooled(self, saliency: Tensor) -> Tensor:
        """Mean of a saliency map [height, width] over each region, [regions]."""
        flat, index = saliency.flatten().double(), self.cell.flatten()
        total = torch.zeros(self.count, dtype=torch.float64).index_add(0, index, flat)
        return total / torch.bincount(index, minlength=self.count)


def grid_regions(height: int, width: int, per_side: int) -> Regions:
    """`per_side`² cells, as equal as whole pixels allow, numbered row by row.

    Raises:
        ParamError: more cells per side than pixels.
    """
    if per_side > min(height, width):
        raise ParamError(f"grid {per_side}: the images are only {height} x {width} pixels")
    rows = torch.arange(height) * per_side // height
    columns = torch.arange(width) * per_side // width
    return Regions(rows[:, None] * per_side + columns, per_side * per_side)


def filled(image: Tensor, fill: str) -> Tensor:
    """What stands in place of hidden pixels of `image` [channels, height, width] in [0, 1]."""
    if fill == "zero":
        return torch.zeros_like(image)
    if fill == "grey":
        return torch.full_like(image, GREY)
    if fill == "mean":
        return image.mean((1, 2), keepdim=True).expand_as(image)
    sigma = max(image.shape[1:]) / 8
    return _blurred(image, sigma)


def _blurred(image: Tensor, sigma: float) -> Tensor:
    def weights(n: int) -> Tensor:
        at = torch.arange(n, dtype=image.dtype)
        w = torch.exp(-((at[:, None] - at).square()) / (2 * sigma * sigma))
        return w / w.sum(1, keepdim=True)

    rows, columns = weights(image.shape[1]), weights(image.shape[2])
    return torch.einsum("yi,xj,cij->cyx", rows, columns, image)


def shown_scores(score: Score, image: Tensor, fill: Tensor, masks: Tensor) -> Tensor:
    """Class probability [n] of the image with the pixels of each mask [n, 1, height, width] shown."""
    parts = [score(fill + m * (image - fill)) for m in torch.split(masks, BATCH)]
    return torch.cat(parts).double()


def by_rise(
    score: Score,
    image: Tensor,
    fill: Tensor,
    regions: Regions,
    rng: np.random.Generator,
    masks: int,
    p: float,
) -> Tensor:
    """Saliency [regions] by RISE: the mean of random soft masks, weighted by the class probability.

    A coarse grid of as many cells per side as there are regions, shown with probability p, is enlarged
    bilinearly and shifted at random; S = sum f(x m) m / (N p).
    """
    side = round(regions.count**0.5)
    height, width = image.shape[1:]
    up = (-(-height // side) * (side + 1), -(-width // side) * (side + 1))
    total = torch.zeros(height, width, dtype=torch.float64)
    for start in range(0, masks, BATCH):
        n = min(BATCH, masks - start)
        coarse = torch.from_numpy((rng.random((n, 1, side + 1, side + 1)) < p).astype("float32"))
        large = torch.nn.functional.interpolate(coarse, up, mode="bilinear", align_corners=False)
        dy = rng.integers(0, up[0] - height + 1, n)
        dx = rng.integers(0, up[1] - width + 1, n)
        m = torch.stack([large[i, :, dy[i] : dy[i] + height, dx[i] : dx[i] + width] for i in range(n)])
        f = shown_scores(score, image, fill, m)
        total += torch.einsum("n,nhw->hw", f, m[:, 0].double())
    return regions.pooled(total / (masks * p))


def by_occlusion(score: Score, image: Tensor, fill: Tensor, regions: Regions) -> Tensor:
    """Saliency [regions]: how much the probability drops when the region alone is hidden."""
    one_hidden = ~torch.eye(regions.count, dtype=torch.bool)
    whole = torch.ones(1, regions.count, dtype=torch.bool)
    f = shown_scores(score, image, fill, regions.mask(torch.cat([whole, one_hidden])))
    return f[0] - f[1:]


def by_gradient(score: Score, image: Tensor, fill: Tensor, regions: Regions) -> Tensor:
    """Saliency [regions]: gradient of the probability times the distance from the fill, in absolute value."""
    with torch.enable_grad():
        x = image[None].clone().requires_grad_(True)
        gradient = torch.autograd.grad(score(x).sum(), x)[0][0]
    return regions.pooled((gradient * (image - fill)).abs().sum(0))


def by_search(score: Score, image: Tensor, fill: Tensor, regions: Regions) -> Tensor:
    """Saliency [regions] by greedy search: regions are added by the gain of F(S) = f(S alone) + 1 - f(without S).

    The saliency is the order of insertion (the first region has the largest), so equal gains are settled and
    a region that only matters together with others keeps its place.
    """
    order: list[int] = []
    shown = torch.zeros(regions.count, dtype=torch.bool)
    while len(order) < regions.count:
        rest = (~shown).nonzero().flatten()
        trial = shown.repeat(len(rest), 1)
        trial[torch.arange(len(rest)), rest] = True
        f = shown_scores(score, image, fill, regions.mask(torch.cat([trial, ~trial])))
        value = f[: len(rest)] + 1 - f[len(rest) :]
        best = int(rest[int(value.argmax())])
        shown[best] = True
        order.append(best)
    saliency = torch.empty(regions.count, dtype=torch.float64)
    saliency[torch.tensor(order)] = torch.arange(regions.count, 0, -1, dtype=torch.float64)
    return saliency


def order_of(saliency: Tensor) -> Tensor:
    """Regions from the most to the least salient; ties in reading order."""
    return torch.argsort(saliency, descending=True, stable=True)


def curve_areas(
    score: Score, image: Tensor, fill: Tensor, regions: Regions, order: Tensor
) -> tuple[float, float]:
    """Insertion and deletion: area under the probability over the share of regions, by trapezoids.

    Both curves run from no region shown (hidden) to all, one region at a step.
    """
    steps = torch.zeros(regions.count + 1, regions.count, dtype=torch.bool)
    for k in range(regions.count):
        steps[k + 1] = steps[k]
        steps[k + 1, order[k]] = True
    f = shown_scores(score, image, fill, regions.mask(torch.cat([steps, ~steps])))
    inserted, deleted = f[: regions.count + 1], f[regions.count + 1 :]
    return tuple(float(torch.trapezoid(c, dx=1 / regions.count).clamp(0, 1)) for c in (inserted, deleted))  # type: ignore[return-value]
