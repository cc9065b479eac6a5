"""The target scheme `digits:`: nothing after the colon is the data set, `cnn` a network trained on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import agentkit
from agentkit.errors import TargetError, unknown

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = ("", "cnn")


def _file() -> Path:
    import torch

    from agentkit_input_noise import digits, trained

    data = digits.load_digits()
    recipe = {"model": "digits:cnn 1", "digits": data.sha256, "torch": torch.__version__}
    return trained.model_file("digits-cnn", recipe, lambda: {**digits.train(data)})


def _require_known(rest: str) -> None:
    if rest not in KNOWN:
        raise TargetError(unknown("digits target", f"digits:{rest}", [f"digits:{k}" for k in KNOWN]))


def fingerprint(rest: str) -> str:
    """Hash of the images, or of the trained weights' file; trains them (10 s) when they are not there yet."""
    from agentkit_input_noise import digits, trained

    _require_known(rest)
    return trained.file_sha256(_file()) if rest else digits.load_digits().sha256


@agentkit.target("digits", fingerprint=fingerprint)
def digits(rest: str, device: str) -> Any:
    """`digits:` are 1,797 labelled 8 x 8 digits (500 for tests); `digits:cnn` a small net trained on them under noise."""
    from agentkit_input_noise import trained
    from agentkit_input_noise.digits import load_digits, trained_network

    _require_known(rest)
    return trained_network(trained.read(_file()), device) if rest else load_digits()
