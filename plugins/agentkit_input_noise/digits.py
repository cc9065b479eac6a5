"""The digits of scikit-learn as a data set, and a small convolutional net trained on them under noise.

Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998): 1,797 images of 8 x 8 pixels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from agentkit.errors import MissingExtraError
from agentkit_input_noise.addresses import draw

if TYPE_CHECKING:
    from torch import Tensor

TEST_ITEMS = 500
SEED = 20_232
EPOCHS = 25
BATCH = 64
TRAINING_NOISE = 0.25
"""Standard deviation of the noise added in training, in pixel units of [0, 1]."""


@dataclass(frozen=True, eq=False)
class Digits:
    """Images in [0, 1] with labels and a fixed split.

    Attributes:
        images: shape (1797, 1, 8, 8), float32.
        labels: shape (1797,), int64, 0 to 9.
        train: 1,297 indices.
        test: 500 indices, which items are drawn from.
        sha256: hash of pixels and labels.
    """

    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    train: tuple[int, ...] = field(repr=False)
    test: tuple[int, ...] = field(repr=False)
    sha256: str

    def draw(self, rng: np.random.Generator, n: int) -> tuple[int, ...]:
        """Draw n test digits without replacement."""
        return draw(rng, self.test, n, what="test digits")


@cache
def load_digits() -> Digits:
    """The data set, read once per process.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError:
        raise MissingExtraError(
            "digits: needs scikit-learn; run: pip install 'agentkit-perturb[image]'"
        ) from None
    pixels, labels = datasets.load_digits(return_X_y=True)
    order = np.random.Generator(np.random.PCG64(SEED)).permutation(len(labels))
    digest = hashlib.sha256(pixels.astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes())
    return Digits(
        images=torch.from_numpy(pixels.reshape(-1, 1, 8, 8).astype(np.float32) / 16),
        labels=torch.from_numpy(labels.astype(np.int64)),
        train=tuple(sorted(order[TEST_ITEMS:].tolist())),
        test=tuple(sorted(order[:TEST_ITEMS].tolist())),
        sha256=digest.hexdigest(),
    )


def network() -> nn.Sequential:
    """Conv 32, conv 64 stride 2, 128 hidden, 10 classes; weights as torch draws them."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def train(data: Digits) -> dict[str, np.ndarray]:
    """Weights after 25 epochs of Adam (1e-3) on noisy images; the global generator of torch is left as it was."""
    generator = torch.Generator().manual_seed(SEED)
    images, labels = data.images[list(data.train)], data.labels[list(data.train)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        net = network().train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(EPOCHS):
        for part in torch.split(torch.randperm(len(labels), generator=generator), BATCH):
            noise = torch.randn(images[part].shape, generator=generator)
            logits = net(images[part] + TRAINING_NOISE * noise)
            loss = nn.functional.cross_entropy(logits, labels[part])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch ships it untyped
            optimizer.step()
    return {name: value.numpy() for name, value in net.state_dict().items()}


def trained_network(weights: dict[str, np.ndarray], device: str) -> nn.Sequential:
    """The network with these weights, in evaluation mode, its parameters frozen."""
    net = network()
    net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    return net.eval().requires_grad_(requires_grad=False).to(device)
