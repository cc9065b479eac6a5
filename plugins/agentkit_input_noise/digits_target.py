"""The target scheme `digits:`: the data set, `digits:cnn` and `digits:score`: networks trained on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import agentkit
from agentkit.errors import TargetError, unknown

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = ("", "cnn", "score")
RECIPES = {"cnn": 1, "score": 2}
"""Raised when a network is trained otherwise than before."""


def _file(rest: str) -> Path:
    import torch

    from agentkit_input_noise import digits, noise_predictor, trained

    data = digits.load_digits()
    recipe = {"model": f"digits:{rest} {RECIPES[rest]}", "digits": data.sha256, "torch": torch.__version__}
    if rest == "cnn":
        return trained.model_file("digits-cnn", recipe, lambda: {**digits.train(data)})
    images = data.images[list(data.train)]
    return trained.model_file("digits-score", recipe, lambda: {**noise_predictor.train(images)})


def _require_known(rest: str) -> None:
    if rest not in KNOWN:
        raise TargetError(unknown("digits target", f"digits:{rest}", [f"digits:{k}" for k in KNOWN]))


def fingerprint(rest: str) -> str:
    """Hash of the images, or of the trained weights' file; trains them (12 s) when they are not there yet."""
    from agentkit_input_noise import digits, trained

    _require_known(rest)
    return trained.file_sha256(_file(rest)) if rest else digits.load_digits().sha256


@agentkit.target("digits", fingerprint=fingerprint)
def digits(rest: str, device: str) -> Any:
    """Digits of scikit-learn, 8 x 8 pixels, 500 for tests; `digits:cnn` classifies, `digits:score` denoises them."""
    from agentkit_input_noise import trained
    from agentkit_input_noise.digits import load_digits, trained_network
    from agentkit_input_noise.noise_predictor import trained_predictor

    _require_known(rest)
    if not rest:
        return load_digits()
    build = trained_network if rest == "cnn" else trained_predictor
    return build(trained.read(_file(rest)), device)
