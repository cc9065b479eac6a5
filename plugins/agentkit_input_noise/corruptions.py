"""ImageNet-C corruptions through corrupt-tta, made reproducible.

The package draws from numpy's global generator; here it runs inside a scope that sets this state from the
unit, the item and the corruption, and puts it back. `impulse_noise` is our own: the package's ignores the seed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from agentkit.errors import MissingExtraError, ParamError
from agentkit_input_noise import keyed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from agentkit import Unit

LEAST_SIDE = 32
"""Pixels a side below which the corruptions have no meaning."""

IMPULSE_SHARE = (0.03, 0.06, 0.09, 0.17, 0.27)
"""Share of values set to black or white at severities 1 to 5, as in ImageNet-C."""


@contextmanager
def global_numpy_state(seed: int) -> Iterator[None]:
    """Inside, numpy's global generator starts from `seed`; afterwards it is as it was."""
    before = np.random.get_state()  # noqa: NPY002 - the package under it knows no other
    np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def corrupted(images: Tensor, name: str, severity: int, unit: Unit) -> Tensor:
    """Images of shape (items, 3, height, width) in [0, 1] at a severity of 1 to 5; equal unit, equal bytes.

    Raises:
        ParamError: images without three channels or smaller than 32 pixels a side.
        MissingExtraError: corrupt-tta or one of its own packages is absent.
    """
    if images.shape[1] != 3 or min(images.shape[2:]) < LEAST_SIDE:
        raise ParamError(
            f"imagenet_c.{name} needs three channels and at least {LEAST_SIDE} pixels a side; "
            f"these images are {tuple(images.shape[1:])}"
        )
    key = keyed.stream_key(unit.rng(f"noise.image.imagenet_c.{name}"))
    seeds = keyed.item_hash(key, np.arange(len(images))).tolist()
    done = []
    for image, seed in zip(images, seeds, strict=True):
        pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        with global_numpy_state(seed):
            done.append(
                _impulse(pixels, severity) if name == "impulse_noise" else _by_package(pixels, name, severity)
            )
    return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2).float() / 255


def _impulse(pixels: NDArray[np.uint8], severity: int) -> NDArray[np.uint8]:
    """Salt and pepper on single values; the same values, and more, at a larger severity."""
    rng = np.random.Generator(np.random.PCG64(int(np.random.randint(1 << 31))))  # noqa: NPY002 - inside the scope
    u, salt = rng.random(pixels.shape), rng.random(pixels.shape) < 0.5
    return np.where(u < IMPULSE_SHARE[severity - 1], np.where(salt, 255, 0), pixels).astype(np.uint8)


def _by_package(pixels: NDArray[np.uint8], name: str, severity: int) -> NDArray[np.uint8]:
    try:
        from corrupt_tta import corrupt  # type: ignore[import-untyped,import-not-found,unused-ignore]  # no stubs
    except ImportError as error:
        raise MissingExtraError(
            f"imagenet_c.{name} needs {error.name}; run: pip install 'agentkit-perturb[image]'"
        ) from None
    found: NDArray[np.float64] = np.asarray(corrupt(pixels, severity=severity, corruption_name=name))
    return np.clip(found, 0, 255).astype(np.uint8)
