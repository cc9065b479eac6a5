"""Interval bounds on the outputs of a sequential network for every input in a ball (IBP), and what all bounds share.

An interval is carried forward layer by layer. Affine layers are used as they are: their action is the module's own
forward, so no layer is rebuilt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from agentkit_input_noise.errors import UnsupportedLayerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

AFFINE = (
    nn.Linear,
    nn.Conv2d,
    nn.AvgPool2d,
    nn.Flatten,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.Identity,
    nn.Dropout,
)
"""Layers that are affine in evaluation mode."""


@dataclass(frozen=True)
class InputBall:
    """All inputs within eps of `centre` in a norm.

    Attributes:
        centre: shape (items, ...).
        eps: radius.
        norm: `inf` or `2`.
    """

    centre: Tensor
    eps: float
    norm: str

    def interval(self) -> tuple[Tensor, Tensor]:
        """Middle and half-width of the smallest box around the ball."""
        return self.centre, torch.full_like(self.centre, self.eps)

    def support(self, slopes: Tensor) -> Tensor:
        """Largest value of each linear function over the ball, less its value at the centre.

        eps times the dual norm: of L-inf the L1 norm, of L2 itself. `slopes` has shape (functions, items, ...).
        """
        flat = slopes.flatten(2)
        return self.eps * (flat.abs().sum(dim=2) if self.norm == "inf" else flat.norm(dim=2))


def layers(network: nn.Module) -> list[nn.Module]:
    """The steps of a sequential network, nested ones spelled out.

    Raises:
        UnsupportedLayerError: for a layer whose bounds are not known, listing those that are.
    """
    if isinstance(network, nn.Sequential):
        return [step for child in network for step in layers(child)]
    if isinstance(network, nn.ReLU | nn.Linear | nn.Conv2d | nn.AvgPool2d | nn.Flatten | nn.Identity):
        return [network]
    if isinstance(network, nn.BatchNorm1d | nn.BatchNorm2d | nn.Dropout) and not network.training:
        return [network]
    known = ", ".join(sorted(c.__name__ for c in (*AFFINE, nn.ReLU, nn.Sequential)))
    state = (
        " in training mode"
        if isinstance(network, nn.Module) and network.training and isinstance(network, AFFINE)
        else ""
    )
    raise UnsupportedLayerError(f"no bounds for layer {type(network).__name__}{state}; known: {known}")


def affine(layer: nn.Module, x: Tensor) -> Tensor:
    """The layer without its constant term: L x = layer(x) - layer(0), shape of the layer's output."""
    found: Tensor = layer(x) - layer(torch.zeros_like(x[:1]))
    return found


def absolute(layer: nn.Module, radius: Tensor) -> Tensor:
    """Half-width of the layer's output box: |W| r, with the module's own weight made non-negative."""
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(radius, layer.weight.abs())
    if isinstance(layer, nn.Conv2d):
        return nn.functional.conv2d(
            radius, layer.weight.abs(), None, layer.stride, layer.padding, layer.dilation, layer.groups
        )
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        return affine(layer, radius).abs()
    return affine(layer, radius)  # averaging and reshaping have no negative weight


@torch.no_grad()
def ibp(network: nn.Module, ball: InputBall) -> list[tuple[Tensor, Tensor]]:
    """Lower and upper bounds before every layer, and after the last: a list of length layers + 1."""
    middle, radius = ball.interval()
    found = [(middle - radius, middle + radius)]
    for layer in layers(network):
        if isinstance(layer, nn.ReLU):
            low, high = (side.clamp_min(0) for side in found[-1])
        else:
            low, high = found[-1]
            middle, radius = layer((low + high) / 2), absolute(layer, (high - low) / 2)
            low, high = middle - radius, middle + radius
        found.append((low, high))
    return found


def shapes(steps: Sequence[nn.Module], x: Tensor) -> list[torch.Size]:
    """Shape before every step and after the last."""
    found = [x.shape]
    for layer in steps:
        x = layer(x)
        found.append(x.shape)
    return found
