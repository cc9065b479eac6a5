"""FGSM and PGD as the Adversarial Robustness Toolbox runs them, for figures to set beside those of its users.

Nicolae et al., arXiv 1807.01069. Its random starts come from numpy's global generator, which is seeded for the call and
put back after it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from agentkit.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from agentkit_input_noise.attack_tool import Attack
    from agentkit_input_noise.attacks import Ball, InputGradient

ROWS = 128
"""Images of a batch: fixed, because its random starts are drawn batch by batch."""


def attacked(
    params: Attack,
    gradient: InputGradient,
    images: Tensor,
    labels: Tensor,
    ball: Ball,
    step: float,
    stream: torch.Generator,
    device: str,
) -> Tensor:
    """Images after ART's FGSM or PGD, on the CPU.

    Raises:
        MissingExtraError: the toolbox is not installed.
        NotDifferentiableError: no gradient reaches the images; ART would return its random start.
    """
    try:
        from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"noise.attack: backend 'art' needs {error.name}; run: pip install 'agentkit-perturb[art]', "
            "or choose backend 'native'"
        ) from None
    some = images[:ROWS].to(device)
    gradient(some, labels[:ROWS].to(device))
    gradient.require_felt()
    with torch.no_grad():
        classes = gradient.logits(some[:1]).shape[1]
    estimator = PyTorchClassifier(
        _Untouched(gradient),
        nn.CrossEntropyLoss(),
        tuple(images.shape[1:]),
        classes,
        clip_values=(0, 1),
        device_type="cpu" if device == "cpu" else "gpu",
    )
    norm = np.inf if ball.norm == "inf" else 2
    attack: Any
    if params.kind == "fgsm":
        attack = FastGradientMethod(estimator, norm=norm, eps=ball.eps, batch_size=ROWS)
    else:
        attack = ProjectedGradientDescentPyTorch(
            estimator,
            norm=norm,
            eps=ball.eps,
            eps_step=step,
            max_iter=params.steps,
            num_random_init=params.restarts,
            batch_size=ROWS,
            verbose=False,
        )
    with _numpy_seeded(int(torch.randint(2**31, (1,), generator=stream))):
        return torch.as_tensor(attack.generate(images.numpy(), labels.numpy()), dtype=images.dtype)


class _Untouched(nn.Module):
    """A classifier that ART can neither move, nor switch to training, nor leave gradients in."""

    def __init__(self, gradient: InputGradient) -> None:
        super().__init__()
        self._logits = gradient.logits_of_frozen

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, classes] of images [B, C, H, W]."""
        return self._logits(x)


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
