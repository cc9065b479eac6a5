"""Scores of a set of drawn images: an objective or judge per image, and what a whole set looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from agentkit.errors import TargetError
from agentkit_attention.errors import BadObjectiveError

if TYPE_CHECKING:
    from torch import Tensor

NEIGHBOURS = 3
"""k of the nearest-neighbour balls of precision and recall (arXiv 1904.06991)."""


def score_images(scorer: Any, uri: str, images: Tensor, labels: Tensor | None) -> Tensor:
    """One number per image, float64 [n]: a readout's own score, or a classifier's confidence.

    Args:
        scorer: an object with `score(images, labels)`, `low` and `high`, or a module that gives logits.
        uri: what messages call it.
        images: [n, channels, height, width] in [0, 1].
        labels: what each image should show, or None.

    Raises:
        BadObjectiveError: not one finite number per image inside the declared range.
        TargetError: it cannot score images at all.
    """
    with torch.no_grad():
        if hasattr(scorer, "score"):
            values = torch.as_tensor(scorer.score(images, labels)).double().cpu()
            low, high = float(getattr(scorer, "low", 0)), float(getattr(scorer, "high", 1))
        elif isinstance(scorer, nn.Module):
            p = class_probabilities(scorer, images)
            values = p.amax(1) if labels is None else p.gather(1, labels[:, None]).squeeze(1)
            low, high = 0.0, 1.0
        else:
            raise TargetError(f"{uri} cannot score images: it has no .score and is no module giving logits")
    if values.shape != (len(images),):
        raise BadObjectiveError(f"{uri} gave shape {tuple(values.shape)} for {len(images)} images")
    bad = ~((values >= low - 1e-9) & (values <= high + 1e-9))
    if bad.any():
        first = int(bad.nonzero()[0])
        raise BadObjectiveError(
            f"{uri} gave {values[first]:g} for image {first}; its range is {low:g} to {high:g}"
        )
    return values.clamp(low, high)


def class_probabilities(scorer: Any, images: Tensor) -> Tensor:
    """Class probabilities float64 [n, classes]."""
    if hasattr(scorer, "probabilities"):
        return torch.as_tensor(scorer.probabilities(images)).double()
    return logits_of(scorer, images).double().softmax(1).cpu()


def logits_of(classifier: nn.Module, images: Tensor) -> Tensor:
    """Logits [n, classes], on the classifier's device, of images on any; differentiable."""
    here = next(classifier.parameters(), images).device
    logits: Tensor = classifier(images.to(here))
    return logits


def inception_score(p: Tensor) -> float:
    """Exponential of the mean divergence of p [n, classes] from its mean: 1 to the number of classes."""
    p = p.clamp(min=1e-12)
    return float((p * (p.log() - p.mean(0).log())).sum(1).mean().exp())


def precision_recall(real: Tensor, drawn: Tensor) -> tuple[float, float]:
    """Share of drawn features inside the real ones' balls, and of real inside the drawn ones' (arXiv 1904.06991)."""

    def inside(points: Tensor, centres: Tensor) -> float:
        among = torch.cdist(centres, centres)
        radius = among.kthvalue(min(NEIGHBOURS + 1, len(centres)), dim=1).values
        return float((torch.cdist(points, centres) <= radius).any(1).double().mean())

    return inside(drawn, real), inside(real, drawn)


def frechet_distance(real: Tensor, drawn: Tensor) -> float:
    """Frechet distance of two Gaussians fitted to features [n, dim], in float64; biased upward for small n."""
    a, b = real.double(), drawn.double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    root = _square_root(cov_a)
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    gap = (a.mean(0) - b.mean(0)).square().sum()
    return max(0.0, float(gap + cov_a.trace() + cov_b.trace() - 2 * cross))


def _square_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    return root
