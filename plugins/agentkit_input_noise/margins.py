"""Margins of a label over the other classes, and bounds of them by any method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from agentkit_input_noise.bounds import ibp
from agentkit_input_noise.crown import alpha_crown, crown

if TYPE_CHECKING:
    from torch import Tensor, nn

    from agentkit_input_noise.bounds import InputBall


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the label less every other logit, shape (items, classes - 1)."""
    own = logits.gather(1, labels[:, None])
    return (own - logits)[_others(logits, labels)].view(len(logits), -1)


@torch.no_grad()
def verified_margins(
    network: nn.Module, ball: InputBall, labels: Tensor, method: str
) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds of every margin, shape (items, classes - 1); verified where all lower ones are positive."""
    outputs = network(ball.centre[:1]).shape[1]
    one = torch.eye(outputs, device=ball.centre.device)
    signs = one[labels][:, None, :] - one[None]
    target = signs[_others(signs[..., 0], labels)].view(len(labels), outputs - 1, outputs)
    if method == "crown":
        return crown(network, ball, target)
    if method == "alpha_crown":
        with torch.enable_grad():
            return alpha_crown(network, ball, target)
    low, high = ibp(network, ball)[-1]
    middle, radius = (low + high) / 2, (high - low) / 2
    value, width = (
        torch.einsum("ifo,io->if", target, middle),
        torch.einsum("ifo,io->if", target.abs(), radius),
    )
    return value - width, value + width


def _others(logits: Tensor, labels: Tensor) -> Tensor:
    """Mask of all classes but the label's, shape (items, classes)."""
    return torch.ones_like(logits, dtype=torch.bool).scatter(1, labels[:, None], value=False)
