"""A small diffusion model of a data set's images: predicts the noise in a noised image (EPS-MMD's score).

Variance-preserving SDE with beta from 0.1 to 20 (Song et al., arXiv 2011.13456): at time t an image in
[-1, 1] is a_t x + s_t z with log a_t = -(t^2 * 19.9 / 4 + 0.1 t / 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

SEED = 20_233
STEPS = 3_000
BATCH = 256
TIMES = (0.001, 0.301)
"""Range of diffusion times that it learns; detection uses times up to 0.1."""


def kept_and_noise(t: Tensor) -> tuple[Tensor, Tensor]:
    """Factor a_t of the image and standard deviation s_t of the noise at times t, shapes of t."""
    log_kept = -(t**2 * 19.9 / 4 + 0.1 * t / 2)
    return log_kept.exp(), (1 - (2 * log_kept).exp()).sqrt()


def predictor(pixels: int) -> nn.Sequential:
    """Image and time to noise: two hidden layers of 256 with SiLU."""
    return nn.Sequential(
        nn.Linear(pixels + 1, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, pixels)
    )


def predict(net: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    """Predicted noise of x, shape (..., pixels), at times t, shape (..., 1)."""
    found: Tensor = net(torch.cat([x, t], dim=-1))
    return found


def train(images: Tensor) -> dict[str, np.ndarray]:
    """Weights after 3,000 steps of Adam (1e-3) on images in [0, 1]; about 10 CPU s."""
    generator = torch.Generator().manual_seed(SEED)
    flat = 2 * images.flatten(1) - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        net = predictor(flat.shape[1]).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(STEPS):
        x = flat[torch.randint(len(flat), (BATCH,), generator=generator)]
        t = TIMES[0] + (TIMES[1] - TIMES[0]) * torch.rand((BATCH, 1), generator=generator)
        z = torch.randn(x.shape, generator=generator)
        kept, noise = kept_and_noise(t)
        loss = nn.functional.mse_loss(predict(net, kept * x + noise * z, t), z)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships it untyped
        optimizer.step()
    return {name: value.numpy() for name, value in net.state_dict().items()}


def trained_predictor(weights: dict[str, np.ndarray], device: str) -> nn.Sequential:
    """The predictor with these weights, in evaluation mode, its parameters frozen."""
    outputs = len(weights["4.bias"])
    net = predictor(outputs)
    net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    return net.eval().requires_grad_(requires_grad=False).to(device)


def scores_of(net: nn.Module, images: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Expected score of each image: mean over times and draws of -e(a_t x + s_t z, t) / s_t.

    Args:
        net: predictor.
        images: shape (items, ...), in [0, 1].
        noise: z, shared by all images, shape (draws, times, pixels).
        times: shape (times,).

    Returns:
        Shape (items, pixels).
    """
    x = (2 * images.flatten(1) - 1)[:, None, None]
    t = times.view(1, 1, -1, 1)
    kept, spread = kept_and_noise(t)
    noised = kept * x + spread * noise
    return (-predict(net, noised, t.expand(*noised.shape[:-1], 1)) / spread).mean(dim=(1, 2))


def times_up_to(last: float, count: int) -> Tensor:
    """`count` evenly spaced diffusion times from the shortest learnt one to `last`."""
    return torch.linspace(TIMES[0] if count > 1 else last, last, count)
