"""Photographs that come with scikit-image, cut to 224 x 224: images without labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from agentkit_input_noise.addresses import draw
from agentkit_input_noise.photos_target import NAMES, file_of, fingerprint

if TYPE_CHECKING:
    from torch import Tensor

SIDE, SHORT_SIDE = 224, 320


@dataclass(frozen=True, eq=False)
class Photos:
    """Four corners of every photograph.

    Attributes:
        images: shape (items, 3, 224, 224), in [0, 1].
        labels: None: flips are counted against the clean prediction.
        test: every index.
    """

    images: Tensor = field(repr=False)
    labels: None
    test: tuple[int, ...]
    sha256: str

    def draw(self, rng: np.random.Generator, n: int) -> tuple[int, ...]:
        """Draw n photographs without replacement."""
        return draw(rng, self.test, n, what="photographs")


@cache
def load_photos() -> Photos:
    """The photographs, read once per process."""
    images = torch.cat([_corners(name) for name in NAMES])
    return Photos(images=images, labels=None, test=tuple(range(len(images))), sha256=fingerprint(""))


def _corners(name: str) -> Tensor:
    from PIL import Image

    with Image.open(file_of(name)) as opened:
        picture = opened.convert("RGB")
    scale = SHORT_SIDE / min(picture.size)
    picture = picture.resize(
        (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR
    )
    pixels = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)
    down, right = pixels.shape[1] - SIDE, pixels.shape[2] - SIDE
    return torch.stack([pixels[:, y : y + SIDE, x : x + SIDE] for y in (0, down) for x in (0, right)])
