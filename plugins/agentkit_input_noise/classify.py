"""A classifier on images: fixed batches, so that a row's result does not depend on its neighbours; clear refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from agentkit.errors import ParamError, TargetError
from agentkit_input_noise.errors import TargetNotDeterministicError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Classifier = Callable[[Tensor], Tensor]

ROWS = 256
"""Rows of every forward; short ones are padded with their first row."""


@torch.no_grad()
def logits(classifier: Classifier, images: Tensor, device: str, rows: int | None = None) -> Tensor:
    """Outputs for images of shape (items, channels, height, width), on the CPU, shape (items, classes)."""
    size, parts = rows or ROWS, []
    for part in torch.split(images, size):
        full = (
            torch.cat([part, part[:1].expand(size - len(part), *part.shape[1:])])
            if len(part) < size
            else part
        )
        parts.append(classifier(full.to(device))[: len(part)].cpu())
    found = torch.cat(parts)
    if found.ndim != 2 or len(found) != len(images):
        raise TargetError(
            f"the classifier gave shape {tuple(found.shape)} for {len(images)} images; (images, classes) was expected"
        )
    if not torch.isfinite(found).all():
        first = int((~torch.isfinite(found)).any(dim=1).nonzero()[0])
        raise TargetError(f"the classifier gave NaN or an infinity for image {first} of {len(images)}")
    return found


def pool(data: Any, items: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Images and labels of the items.

    Raises:
        ParamError: pixels that are not numbers in [0, 1], or images that are not (channels, height, width),
            naming the first offending item.
    """
    index = torch.tensor(items, dtype=torch.long)
    images = data.images[index].to(torch.float32)
    if images.ndim != 4:
        raise ParamError(
            f"images have shape {tuple(images.shape)}; (items, channels, height, width) was expected"
        )
    good = ((images >= 0) & (images <= 1)).flatten(1).all(dim=1)
    if not good.all():
        first = items[int(torch.argmin(good.to(torch.uint8)))]
        raise ParamError(f"item {first} has pixels outside [0, 1] (or NaN); scale the images to [0, 1]")
    return images, data.labels[index]


def require_deterministic(
    classifier: Classifier, images: Tensor, device: str, rows: int | None = None
) -> None:
    """Refuse a classifier whose second pass over the same images differs (dropout is on)."""
    some = images[:1]
    first, second = (logits(classifier, some, device, rows) for _ in range(2))
    if not torch.equal(first, second):
        raise TargetNotDeterministicError(
            "the classifier gave other outputs on a second pass; put it into evaluation mode: model.eval()"
        )


def scores(found: Tensor, labels: Tensor, clean: NDArray[np.int64]) -> tuple[float, float, float]:
    """Accuracy, share of items whose class differs from the clean one, and mean negative log-likelihood."""
    predicted = found.argmax(dim=1)
    wide = found.to(torch.float64)
    nll = torch.nn.functional.cross_entropy(wide, labels)
    return (
        float((predicted == labels).double().mean()),
        float((predicted.numpy() != clean).mean()),
        float(nll),
    )
