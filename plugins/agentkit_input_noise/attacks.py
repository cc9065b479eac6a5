"""Attacks on the input of a differentiable classifier, and random controls of the very same size.

PGD (Madry et al., arXiv 1706.06083), FGSM (Goodfellow et al., 1412.6572), a universal perturbation learnt by
gradient ascent (Shafahi et al., 1811.11304). Only the input's gradient is asked for, so none is computed for the
classifier's parameters, whatever their flags say, and nothing of theirs is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from agentkit_input_noise.errors import NotDifferentiableError

if TYPE_CHECKING:
    from torch import Tensor

UNIVERSAL_EPOCHS = 5
UNIVERSAL_BATCH = 64

WORTH_LEAVING = 1 / 8
"""Share of a batch that must have settled before it is cut: every new size costs torch a few milliseconds once."""
LEAST_ROWS = 8
"""Rows below which a batch is not cut: matrix products of one to three rows take another path and other last bits."""


@dataclass(frozen=True)
class Ball:
    """What an attack may do to one image: stay in [0, 1] and within eps in a norm.

    Attributes:
        norm: `inf` or `2`.
        eps: radius, in pixel units.
    """

    norm: str
    eps: float

    def project(self, x: Tensor, centre: Tensor) -> Tensor:
        """The nearest allowed point (for norm 2: shrunk to the radius, then clipped to [0, 1])."""
        delta = x - centre
        if self.norm == "inf":
            delta = delta.clamp(-self.eps, self.eps)
        else:
            delta = delta * (self.eps / _norms(delta).clamp_min(1e-12)).clamp(max=1)
        return (centre + delta).clamp(0, 1)

    def uphill(self, gradient: Tensor) -> Tensor:
        """The step of size 1 along a gradient that raises a linear loss most."""
        if self.norm == "inf":
            return gradient.sign()
        return gradient / _norms(gradient).clamp_min(1e-12)

    def random_start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A random point of the ball around each image."""
        if self.norm == "inf":
            u = 2 * torch.rand(x.shape, generator=generator) - 1
            return self.project(x + self.eps * u.to(x), x)
        z = torch.randn(x.shape, generator=generator).to(x)
        radius = torch.rand((len(x), 1, 1, 1), generator=generator).to(x)
        return self.project(x + self.eps * radius * z / _norms(z), x)


class InputGradient:
    """Loss and its gradient with respect to the images, for a classifier that may be a torch module.

    Raises:
        NotDifferentiableError: when no gradient reaches the input, naming the first module that breaks it.
    """

    def __init__(self, classifier: Any) -> None:
        self._classifier, self._felt = classifier, False

    def logits(self, x: Tensor) -> Tensor:
        """The classifier's outputs."""
        outputs: Tensor = self._classifier(x)
        return outputs

    def logits_of_frozen(self, x: Tensor) -> Tensor:
        """The same, with nothing but the input left to have a gradient."""
        if not isinstance(self._classifier, nn.Module):
            return self.logits(x)
        named = [*self._classifier.named_parameters(), *self._classifier.named_buffers()]
        frozen = {name: value.detach() for name, value in named}
        outputs: Tensor = torch.func.functional_call(self._classifier, frozen, (x,))
        return outputs

    def __call__(self, x: Tensor, labels: Tensor) -> Tensor:
        """Gradient of the summed cross-entropy, shape of x."""
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            loss = nn.functional.cross_entropy(self.logits(point), labels, reduction="sum")
            if not loss.requires_grad:
                raise NotDifferentiableError(self._breaker(x))
            (gradient,) = torch.autograd.grad(loss, point, allow_unused=True)
        if gradient is None:
            raise NotDifferentiableError(self._breaker(x))
        self._felt = self._felt or bool(gradient.any())
        return gradient

    def require_felt(self) -> None:
        """Refuse gradients that were exactly zero for every image so far: the attack has not moved anything."""
        if not self._felt:
            raise NotDifferentiableError(
                "the gradient is exactly zero for every image, so an attack stays where it starts: the classifier "
                "rounds or compares somewhere, or its logits are so far apart that softmax is 0 and 1; use a random "
                "control or another target"
            )

    def _breaker(self, x: Tensor) -> str:
        """Names the first module whose output has lost the gradient of its input."""
        broken: list[tuple[str, bool]] = []
        if isinstance(self._classifier, nn.Module):
            hooks = [
                module.register_forward_hook(
                    lambda _m, given, out, name=name: (
                        None if _has_gradient(out) else broken.append((name, _has_gradient(given[0])))
                    )
                )
                for name, module in self._classifier.named_modules()
                if name and not any(True for _ in module.children())
            ]
            with torch.enable_grad():
                self.logits_of_frozen(x.detach().requires_grad_())
            for hook in hooks:
                hook.remove()
        where = "the classifier is no torch module or detaches its input"
        if broken:
            name, entered = broken[0]
            where = f"module {name!r} breaks it" if entered else f"it is lost before module {name!r}"
        return f"no gradient reaches the images: {where}; use a random control or another target"


def fgsm(gradient: InputGradient, x: Tensor, labels: Tensor, ball: Ball) -> Tensor:
    """One step of size eps along the gradient, no random start."""
    return ball.project(x + ball.eps * ball.uphill(gradient(x, labels)), x)


def gradient_shift(gradient: InputGradient, x: Tensor, labels: Tensor, distance: float) -> Tensor:
    """Every image moved by an L2 `distance` straight along its own gradient of the loss, in one step.

    The name has no agreed meaning in the literature; this is the fast gradient method in L2 (Goodfellow et al.,
    1412.6572; Miyato et al., 1605.07725) with the length kept where the range of pixels would cut it.
    """
    return _moved(x, gradient(x, labels), torch.full((len(x), 1, 1, 1), distance).to(x))


def pgd(
    gradient: InputGradient,
    x: Tensor,
    labels: Tensor,
    ball: Ball,
    *,
    step: float,
    steps: int,
    restarts: int,
    generator: torch.Generator,
) -> Tensor:
    """Projected gradient ascent; of several restarts each item keeps the one of largest loss."""
    best, best_loss = x, torch.full((len(x),), -torch.inf, device=x.device)
    for _ in range(restarts):
        point = ascend(gradient, ball.random_start(x, generator), x, labels, ball, step=step, steps=steps)
        if restarts == 1:
            return point
        with torch.no_grad():
            loss = nn.functional.cross_entropy(gradient.logits(point), labels, reduction="none")
        better = loss > best_loss
        best = torch.where(better[:, None, None, None], point, best)
        best_loss = torch.where(better, loss, best_loss)
    return best


def ascend(
    gradient: InputGradient, start: Tensor, x: Tensor, labels: Tensor, ball: Ball, *, step: float, steps: int
) -> Tensor:
    """Where `steps` projected steps lead from `start`, shape of x.

    A step depends on nothing but where it starts, so an item that stands where it stood two steps ago goes to and
    fro for ever, and its end is known. Steps of a fixed size along signs do so soon (nine digits in ten within 20
    steps), and such items leave the batch: the result is that of all steps, to the bit where the classifier's
    rows do not depend on how many stand beside them.
    """
    end, items = torch.empty_like(x), torch.arange(len(x), device=x.device)
    before = point = start
    for left in reversed(range(steps)):
        moved = ball.project(point + step * ball.uphill(gradient(point, labels)), x)
        settled = (moved == before).flatten(1).all(dim=1)
        done = int(settled.sum())
        if done >= len(x) * WORTH_LEAVING and len(x) - done >= LEAST_ROWS:
            end[items[settled]] = (point if left % 2 else moved)[settled]
            items, x, labels, point, moved = (t[~settled] for t in (items, x, labels, point, moved))
        before, point = point, moved
    end[items] = point
    return end


def universal(
    gradient: InputGradient, x: Tensor, labels: Tensor, ball: Ball, *, step: float, generator: torch.Generator
) -> Tensor:
    """One perturbation for all images, learnt on x by ascent of the summed loss, shape (1, channels, h, w)."""
    delta = torch.zeros_like(x[:1])
    for _ in range(UNIVERSAL_EPOCHS):
        for part in torch.split(torch.randperm(len(x), generator=generator), UNIVERSAL_BATCH):
            g = gradient((x[part] + delta).clamp(0, 1), labels[part]).sum(dim=0, keepdim=True)
            delta = delta + step * ball.uphill(g)
            delta = (
                delta.clamp(-ball.eps, ball.eps)
                if ball.norm == "inf"
                else delta * (ball.eps / _norms(delta)).clamp(max=1)
            )
    return delta


def random_sign(x: Tensor, size: Tensor | float, generator: torch.Generator) -> Tensor:
    """The control of the same L-inf: every value moves by `size`, up or down by the toss of a coin."""
    coin = 2 * (torch.rand(x.shape, generator=generator) < 0.5).to(x) - 1
    return (x + size * coin).clamp(0, 1)


def random_sphere(x: Tensor, attacked: Tensor, generator: torch.Generator) -> Tensor:
    """The control of the same L2, item by item: a random direction with the size of the attack's own change."""
    return _moved(x, torch.randn(x.shape, generator=generator).to(x), _norms(attacked - x))


def largest_change(x: Tensor, attacked: Tensor) -> Tensor:
    """L-inf of each item's change, shape (items, 1, 1, 1)."""
    return (attacked - x).abs().amax(dim=(1, 2, 3), keepdim=True)


def _moved(x: Tensor, direction: Tensor, size: Tensor) -> Tensor:
    """Images moved along a direction by an L2 size, shape (items, 1, 1, 1), inside [0, 1].

    Clipping to [0, 1] shortens a step, so its length is corrected a few times.
    """
    direction, length = direction / _norms(direction).clamp_min(1e-12), size.clone()
    for _ in range(8):
        moved = (x + length * direction).clamp(0, 1)
        length = length * (size / _norms(moved - x).clamp_min(1e-12)).clamp(0.5, 2)
    return (x + length * direction).clamp(0, 1)


def _norms(x: Tensor) -> Tensor:
    """L2 norm of each item, shape (items, 1, 1, 1)."""
    found: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return found[:, None, None, None]


def _has_gradient(out: Any) -> bool:
    return bool(getattr(out, "requires_grad", True))
