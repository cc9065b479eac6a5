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

MOST_ROWS, MOST_VALUES = 256, 1 << 21
"""Rows of every forward, and values in it where images are large; short ones are padded with their first row."""


def rows_for(images: Tensor, most: int = MOST_ROWS) -> int:
    """Rows of a forward for images of this size: a power of two, the same whatever else is asked."""
    fitting = max(1, MOST_VALUES // images[0].numel())
    return min(most, 1 << (fitting.bit_length() - 1))


@torch.no_grad()
def logits(classifier: Classifier, images: Tensor, device: str, rows: int | None = None) -> Tensor:
    """Outputs for images of shape (items, channels, height, width), on the CPU, shape (items, classes).

    Raises:
        TargetError: a classifier that cannot take images of this shape, or gives something else than finite logits.
    """
    size, parts = rows or rows_for(images), []
    for part in torch.split(images, size):
        full = (
            torch.cat([part, part[:1].expand(size - len(part), *part.shape[1:])])
            if len(part) < size
            else part
        )
        parts.append(_forward(classifier, full.to(device))[: len(part)].cpu())
    found = torch.cat(parts)
    if found.ndim != 2 or len(found) != len(images):
        raise TargetError(
            f"the classifier gave shape {tuple(found.shape)} for {len(images)} images; (images, classes) was expected"
        )
    if not torch.isfinite(found).all():
        first = int((~torch.isfinite(found)).any(dim=1).nonzero()[0])
        raise TargetError(f"the classifier gave NaN or an infinity for image {first} of {len(images)}")
    return found


def _forward(classifier: Classifier, images: Tensor) -> Tensor:
    try:
        return classifier(images)
    except torch.OutOfMemoryError:
        raise  # the worker goes on with smaller batches
    except RuntimeError as error:
        channels, height, width = images.shape[1:]
        raise TargetError(
            f"the classifier cannot take images of {channels} channels, {height} x {width} pixels: {error}; "
            "choose target and data that belong together"
        ) from error


def pool(data: Any, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """Images of the items, and their labels if the data set has any.

    Raises:
        ParamError: pixels that are not numbers in [0, 1], or images that are not (channels, height, width),
            naming the first offending item.
    """
    if not isinstance(data.images, torch.Tensor):
        raise ParamError(
            f"images are a {type(data.images).__name__}; give a torch tensor: torch.as_tensor(images)"
        )
    if not len(items):
        raise ParamError("no image was drawn; the data set is empty, or items is 0")
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
    return images, None if data.labels is None else data.labels[index]


def labelled(data: Any, items: Sequence[int]) -> tuple[Tensor, Tensor]:
    """As `pool`, for tools that need labels; raises `ParamError` where there are none."""
    images, labels = pool(data, items)
    if labels is None:
        raise ParamError(
            "this data set has no labels; use noise.image, which counts flips, or another data set"
        )
    return images, labels


def require_usable(
    classifier: Classifier, data: Any, images: Tensor, device: str, rows: int | None = None
) -> None:
    """Refuse a classifier whose second pass over the same image differs, and labels that are no class of it.

    Raises:
        TargetNotDeterministicError: dropout is on.
        ParamError: a label of the data set that the classifier cannot give.
    """
    some = images[:1]
    first, second = (logits(classifier, some, device, rows) for _ in range(2))
    classes, labels = first.shape[1], data.labels
    if labels is not None and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ParamError(
            f"labels run from {int(labels.min())} to {int(labels.max())}, and the classifier has classes 0 to "
            f"{classes - 1}; choose target and data that belong together"
        )
    if not torch.equal(first, second):
        raise TargetNotDeterministicError(
            "the classifier gave other outputs on a second pass; put it into evaluation mode: model.eval()"
        )


def scores(found: Tensor, labels: Tensor, clean: NDArray[np.int64]) -> tuple[float, float, float]:
    """Accuracy, share of items whose class differs from the clean one, and mean negative log-likelihood."""
    predicted = found.argmax(dim=1)
    nll = torch.nn.functional.cross_entropy(found.to(torch.float64), labels)
    return float((predicted == labels).double().mean()), flip_rate(found, clean), float(nll)


def flip_rate(found: Tensor, clean: NDArray[np.int64]) -> float:
    """Share of items whose class differs from the clean one."""
    return float((found.argmax(dim=1).numpy() != clean).mean())
