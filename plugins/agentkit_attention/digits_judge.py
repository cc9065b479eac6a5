"""Scorers of drawn digits that no search uses: a support-vector machine, and a net for feature distances."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from agentkit.errors import TargetError

if TYPE_CHECKING:
    from torch import Tensor

SEED = 977
EPOCHS = 8


def _digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return pixels / 16, labels


def _require_digits(images: Tensor) -> None:
    """Refuse images that are not of the digits' size."""
    if images.shape[1:] != (1, 8, 8):
        raise TargetError(
            f"digits-judge: scores digits of 1 x 8 x 8, not {' x '.join(map(str, images.shape[1:]))}; "
            "name other scorers as judge, objective and features (py:module:factory), or features: null"
        )


class SvcJudge:
    """Calibrated confidence of an RBF support-vector machine trained on all 1,797 digits.

    Attributes:
        low, high: 0 and 1.
    """

    low, high = 0.0, 1.0

    @cached_property
    def _machine(self) -> Any:
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.svm import SVC

        return CalibratedClassifierCV(SVC(C=10, gamma=0.06), cv=3, ensemble=False).fit(*_digits())

    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities [n, 10] of images [n, 1, 8, 8] in [0, 1]."""
        _require_digits(images)
        return torch.from_numpy(self._machine.predict_proba(images.flatten(1).double().numpy()))

    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Probability of the label, or of the likeliest class where there is none, [n]."""
        p = self.probabilities(images)
        return p.amax(1) if labels is None else p.gather(1, labels[:, None]).squeeze(1)


class FeatureNet:
    """64 features per digit from a small convolutional net of its own seed, for `fd`, precision and recall."""

    def __init__(self) -> None:
        pixels, labels = _digits()
        self.reference = torch.from_numpy(pixels).float().view(-1, 1, 8, 8)
        generator = torch.Generator().manual_seed(SEED)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            self._body = nn.Sequential(
                nn.Conv2d(1, 24, 3, padding=1), nn.GELU(), nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.GELU(),
                nn.Flatten(), nn.Linear(48 * 16, 64),
            )  # fmt: skip
            head = nn.Linear(64, 10)
        net = nn.Sequential(self._body, nn.GELU(), head)
        optimizer, targets = torch.optim.Adam(net.parameters(), lr=2e-3), torch.from_numpy(labels).long()
        for _ in range(EPOCHS):
            for part in torch.split(torch.randperm(len(targets), generator=generator), 64):
                loss = nn.functional.cross_entropy(net(self.reference[part]), targets[part])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch ships it untyped
                optimizer.step()
        self._body.eval().requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        """[n, 64] of images [n, 1, 8, 8] in [0, 1]."""
        _require_digits(images)
        out: Tensor = self._body(images.float())
        return out
