"""A small diffusion model of a data set's images: predicts the noise in a noised image (EPS-MMD's score).

Variance-preserving SDE with beta from 0.1 to 20 (Song et al., arXiv 2011.13456): at time t an image in
[-1, 1] is a_t x + s_t z with log a_t = -(t^2 * 19.9 / 4 + 0.1 t / 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from agentkit.errors import TargetError

if TYPE_CHECKING:
    from torch import Tensor

SEED = 20_233
STEPS = 5_000
BATCH = 256
RATE = 3e-3
"""First rate of Adam, falling to zero along a cosine. At a constant 1e-3 and 3,000 steps the loss on test digits at
t = 0.05 is 0.65 instead of 0.51: such a net knows little of small noise, and neither does the detector."""

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
    """Predicted noise of x, shape (..., pixels), at times t, shape (..., 1).

    Raises:
        TargetError: the network takes or gives something else.
    """
    try:
        found: Tensor = net(torch.cat([x, t], dim=-1))
    except torch.OutOfMemoryError:
        raise  # the worker goes on with smaller batches
    except RuntimeError as error:
        raise TargetError(
            f"the noise predictor cannot take {x.shape[-1]} pixels and a time: {error}; choose score and data that "
            "belong together"
        ) from error
    if found.shape != x.shape:
        raise TargetError(
            f"the noise predictor gave shape {tuple(found.shape)}; {tuple(x.shape)} was expected"
        )
    return found


def train(images: Tensor) -> dict[str, np.ndarray]:
    """Weights after 5,000 steps of Adam on images in [0, 1]; about 12 CPU s."""
    generator = torch.Generator().manual_seed(SEED)
    flat = 2 * images.flatten(1) - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        net = predictor(flat.shape[1]).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        x = flat[torch.randint(len(flat), (BATCH,), generator=generator)]
        t = TIMES[0] + (TIMES[1] - TIMES[0]) * torch.rand((BATCH, 1), generator=generator)
        z = torch.randn(x.shape, generator=generator)
        kept, noise = kept_and_noise(t)
        loss = nn.functional.mse_loss(predict(net, kept * x + noise * z, t), z)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships it untyped
        optimizer.step()
        schedule.step()
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
