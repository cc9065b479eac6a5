"""Linear bounds on the outputs of a sequential network for every input in a ball: CROWN and alpha-CROWN.

CROWN (Zhang et al., arXiv 1811.00866) carries linear functions of the outputs backwards through the network and
bounds every unstable ReLU between two lines; alpha-CROWN (Xu et al., 2011.13824) searches the slopes of the lower
lines, any of which is sound. The transpose of an affine layer is the vector-Jacobian product of its own forward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from agentkit_input_noise.bounds import layers, shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from agentkit_input_noise.bounds import InputBall

SEARCH_STEPS, SEARCH_RATE = 20, 0.1
"""Steps of Adam over the slopes of the lower lines."""


@torch.no_grad()
def crown(network: nn.Module, ball: InputBall, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds of linear functions of the outputs by CROWN, each of shape (items, functions).

    Args:
        network: sequential, in evaluation mode.
        ball: the inputs.
        target: the functions, shape (items, functions, outputs); every output itself when None.
    """
    steps = layers(network)
    return _backward(steps, boxes_before(steps, ball), ball, target)


@torch.no_grad()
def boxes_before(steps: Sequence[nn.Module], ball: InputBall) -> list[tuple[Tensor, Tensor] | None]:
    """CROWN's box of the inputs of every ReLU, from a backward pass over the steps before it; None elsewhere."""
    boxes: list[tuple[Tensor, Tensor] | None] = [None] * len(steps)
    for k, layer in enumerate(steps):
        if isinstance(layer, nn.ReLU):
            boxes[k] = _backward(steps[:k], boxes, ball, None)
    return boxes


def alpha_crown(network: nn.Module, ball: InputBall, target: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds as `crown`'s, each with slopes of its own for the lower lines, improved by gradient ascent.

    Boxes of the ReLUs are CROWN's. The best bound met is kept, so none is looser than CROWN's.
    """
    steps = layers(network)
    boxes = boxes_before(steps, ball)
    both = torch.cat(
        [target, -target], dim=1
    )  # an upper bound is the negative of a lower bound of the negative
    slopes = [
        (box[1] > -box[0]).to(target).expand(both.shape[1], *box[0].shape).clone().requires_grad_()
        for box in boxes if box is not None
    ]  # fmt: skip
    low, high = _backward(steps, boxes, ball, target)
    best = torch.cat([low, -high], dim=1)
    if not slopes:
        return low, high
    search = torch.optim.Adam(slopes, lr=SEARCH_RATE)
    for _ in range(SEARCH_STEPS):
        found = _lower(steps, boxes, ball, both, slopes)
        best = torch.maximum(best, found.detach())
        for slope, gradient in zip(slopes, torch.autograd.grad(-found.sum(), slopes), strict=True):
            slope.grad = gradient
        search.step()
        with torch.no_grad():
            for slope in slopes:
                slope.clamp_(0, 1)
    with torch.no_grad():
        best = torch.maximum(best, _lower(steps, boxes, ball, both, slopes))
    return best[:, : target.shape[1]], -best[:, target.shape[1] :]


def _backward(
    steps: Sequence[nn.Module],
    boxes: Sequence[tuple[Tensor, Tensor] | None],
    ball: InputBall,
    target: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Bounds of functions of what the last of `steps` gives, from linear functions carried back to the input."""
    with torch.no_grad():
        sizes = shapes(steps, ball.centre)
    items, size = len(ball.centre), sizes[-1].numel() // max(sizes[-1][0], 1)
    if target is None:
        target = torch.eye(size, device=ball.centre.device).expand(items, size, size)
    slopes = target.transpose(0, 1).reshape(target.shape[1], items, *sizes[-1][1:])
    lower, upper = slopes, slopes  # coefficients, shape (functions, items, ...)
    low = high = ball.centre.new_zeros(target.shape[1], items)
    for k in range(len(steps) - 1, -1, -1):
        layer, box = steps[k], boxes[k]
        if isinstance(layer, nn.ReLU):
            assert box is not None  # noqa: S101 - crown fills the boxes in order
            lower, less = _through_relu(lower, *box, sign=1.0)
            upper, more = _through_relu(upper, *box, sign=-1.0)
        else:
            constant = layer(ball.centre.new_zeros((1, *sizes[k][1:])))
            less, more = ((c * constant).flatten(2).sum(dim=2) for c in (lower, upper))
            same = upper is lower
            lower = _transposed(layer, lower, sizes[k])
            upper = lower if same else _transposed(layer, upper, sizes[k])
        low, high = low + less, high + more
    low = low + (lower * ball.centre).flatten(2).sum(dim=2) - ball.support(lower)
    high = high + (upper * ball.centre).flatten(2).sum(dim=2) + ball.support(upper)
    return low.T, high.T


def _lower(
    steps: Sequence[nn.Module],
    boxes: Sequence[tuple[Tensor, Tensor] | None],
    ball: InputBall,
    target: Tensor,
    alphas: Sequence[Tensor],
) -> Tensor:
    """Lower bounds of functions of the outputs, shape (items, functions), differentiable in the lower lines' slopes.

    `alphas` has one tensor a ReLU, in order, of shape (functions, items, ReLU's inputs).
    """
    with torch.no_grad():
        sizes = shapes(steps, ball.centre)
    slopes = target.transpose(0, 1).reshape(target.shape[1], len(ball.centre), *sizes[-1][1:])
    low, left = slopes.new_zeros(slopes.shape[:2]), list(alphas)
    for k in range(len(steps) - 1, -1, -1):
        layer, box = steps[k], boxes[k]
        if isinstance(layer, nn.ReLU):
            assert box is not None  # noqa: S101 - boxes_before fills them
            slopes, constant = _through_relu(slopes, *box, sign=1.0, alpha=left.pop())
        else:
            constant = (slopes * layer(ball.centre.new_zeros((1, *sizes[k][1:])))).flatten(2).sum(dim=2)
            slopes = _transposed(layer, slopes, sizes[k])
        low = low + constant
    return (low + (slopes * ball.centre).flatten(2).sum(dim=2) - ball.support(slopes)).T


def _through_relu(
    slopes: Tensor, low: Tensor, high: Tensor, *, sign: float, alpha: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Replace ReLU by lines: for a lower bound (sign 1) positive slopes take the lower line, negative the upper.

    Between l < 0 < u the upper line is u (z - l) / (u - l), the lower line alpha z with alpha = 1 if u > -l
    unless it is given.
    """
    low, high = low.view(slopes.shape[1:]), high.view(slopes.shape[1:])
    unstable = (low < 0) & (high > 0)
    on = (low >= 0).to(slopes)
    rise = torch.where(unstable, high / (high - low).clamp_min(1e-12), on)
    offset = torch.where(unstable, -rise * low, torch.zeros_like(low))
    free = (high > -low).to(slopes) if alpha is None else alpha.view(slopes.shape)
    alpha = torch.where(unstable, free, on)
    good, bad = (sign * slopes).clamp_min(0), (sign * slopes).clamp_max(0)
    constant = sign * (bad * offset).flatten(2).sum(dim=2)
    return sign * (good * alpha + bad * rise), constant


def _transposed(layer: nn.Module, slopes: Tensor, shape: torch.Size) -> Tensor:
    """Coefficients of the layer's input: the vector-Jacobian product of its own forward."""
    if isinstance(layer, nn.Linear):
        return slopes @ layer.weight
    functions, items = slopes.shape[:2]
    with torch.enable_grad():
        x = slopes.new_zeros((functions * items, *shape[1:])).requires_grad_()
        (found,) = torch.autograd.grad(layer(x), x, slopes.flatten(0, 1), create_graph=slopes.requires_grad)
    return found.view(functions, items, *shape[1:])
