"""Bounds on the outputs of a sequential network for every input in a ball: IBP, CROWN and alpha-CROWN.

IBP carries an interval forward layer by layer. CROWN (Zhang et al., arXiv 1811.00866) carries linear
functions of the outputs backwards through the network and bounds every unstable ReLU between two lines;
alpha-CROWN (Xu et al., 2011.13824) searches the slopes of the lower lines, any of which is sound.
Affine layers are used as they are: their action is the module's own forward, their transpose its
vector-Jacobian product, so no layer is rebuilt.
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

SEARCH_STEPS, SEARCH_RATE = 20, 0.1
"""Steps of Adam over the slopes of the lower lines."""


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


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the label less every other logit, shape (items, classes - 1)."""
    own = logits.gather(1, labels[:, None])
    return (own - logits)[_others(logits, labels)].view(len(logits), -1)


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


@torch.no_grad()
def verified_margins(
    network: nn.Module, ball: InputBall, labels: Tensor, method: str
) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds of every margin, shape (items, classes - 1); verified where all lower ones are positive."""
    outputs = network(ball.centre[:1]).shape[1]
    signs = torch.eye(outputs)[labels][:, None, :] - torch.eye(outputs)[None]
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
        target = torch.eye(size).expand(items, size, size)
    slopes = target.transpose(0, 1).reshape(target.shape[1], items, *sizes[-1][1:])
    lower, upper = slopes, slopes  # coefficients, shape (functions, items, ...)
    low = high = torch.zeros(target.shape[1], items)
    for k in range(len(steps) - 1, -1, -1):
        layer, box = steps[k], boxes[k]
        if isinstance(layer, nn.ReLU):
            assert box is not None  # noqa: S101 - crown fills the boxes in order
            lower, less = _through_relu(lower, *box, sign=1.0)
            upper, more = _through_relu(upper, *box, sign=-1.0)
        else:
            constant = layer(torch.zeros((1, *sizes[k][1:])))
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
    low, left = torch.zeros(slopes.shape[:2]), list(alphas)
    for k in range(len(steps) - 1, -1, -1):
        layer, box = steps[k], boxes[k]
        if isinstance(layer, nn.ReLU):
            assert box is not None  # noqa: S101 - boxes_before fills them
            slopes, constant = _through_relu(slopes, *box, sign=1.0, alpha=left.pop())
        else:
            constant = (slopes * layer(torch.zeros((1, *sizes[k][1:])))).flatten(2).sum(dim=2)
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
        x = torch.zeros((functions * items, *shape[1:]), requires_grad=True)
        (found,) = torch.autograd.grad(layer(x), x, slopes.flatten(0, 1), create_graph=slopes.requires_grad)
    return found.view(functions, items, *shape[1:])


def shapes(steps: Sequence[nn.Module], x: Tensor) -> list[torch.Size]:
    """Shape before every step and after the last."""
    found = [x.shape]
    for layer in steps:
        x = layer(x)
        found.append(x.shape)
    return found


def _others(logits: Tensor, labels: Tensor) -> Tensor:
    """Mask of all classes but the label's, shape (items, classes)."""
    return torch.ones_like(logits, dtype=torch.bool).scatter(1, labels[:, None], value=False)
