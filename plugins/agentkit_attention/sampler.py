"""The surface of a diffusion target, and the digits transformer behind it.

A diffusion target has `model`, `device`, `classes`, `example(seed)`, `latents(generator, n)`,
`times(steps)`, `velocity(x, t, labels)` (exactly one call of the model) and `images(x)` in [0, 1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from agentkit_attention import digits_dit

if TYPE_CHECKING:
    from torch import Tensor


class DigitsDiT:
    """Draws 8 x 8 digits.

    Attributes:
        model: the untouched diffusers transformer.
        device: where it lives.
        classes: 10; the label 10 means any digit.
    """

    classes = 10

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.model: Any = digits_dit.load(device)

    def example(self, seed: int) -> dict[str, Any]:
        """Arguments of the model for one noisy image of its own; the seed changes the image alone."""
        x = self.latents(torch.Generator().manual_seed(seed), 1)
        labels = torch.full((1,), digits_dit.NO_LABEL, device=self.device)
        return {
            "hidden_states": x,
            "timestep": torch.full((1,), 500.0, device=self.device),
            "class_labels": labels,
        }

    def latents(self, generator: torch.Generator, n: int) -> Tensor:
        """Pure noise [n, 1, 8, 8], drawn on the CPU in float32 whatever the device."""
        return torch.randn(n, 1, 8, 8, generator=generator).to(self.device)

    def times(self, steps: int) -> list[float]:
        """`steps` + 1 times from 1 (noise) to 0 (image)."""
        return [1 - i / steps for i in range(steps + 1)]

    def velocity(self, x: Tensor, t: float, labels: Tensor | None) -> Tensor:
        """Predicted noise minus image at time t; labels [n] in 0…9, or None for any digit."""
        if labels is None:
            labels = torch.full((len(x),), digits_dit.NO_LABEL, device=x.device)
        return digits_dit.velocity(self.model, x, t, labels)

    def images(self, x: Tensor) -> Tensor:
        """Pixels in [0, 1], [n, 1, 8, 8], on the CPU."""
        return ((x + 1) / 2).clamp(0, 1).cpu()
