"""The 19 ImageNet-C corruptions under today's numpy: which run, and which give the same bytes for the same seed.

    python benchmarks/noise_corruptions.py

Ours (corrupt-tta inside a seeded scope, impulse noise of our own) against the bare wheels corrupt-tta,
imagecorruptions and imagecorruptions-imaug, each seeded as its users do, with np.random.seed. Wheels that
are not importable are left out and named; the last two share an import name, so only one can be there.
Bar: ours 19 of 19 usable and 19 of 19 reproducible. No speed is claimed.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agentkit import Unit
from agentkit_input_noise.corruptions import corrupted
from agentkit_input_noise.image_tool import CORRUPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    Corrupt = Callable[[np.ndarray, str], np.ndarray]

SEVERITY, SIDE = 3, 96


def photo() -> np.ndarray:
    """A smooth colour picture with some texture, uint8, shape (96, 96, 3)."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    waves = np.stack([np.sin(9 * x + 4 * y), np.cos(7 * y), np.sin(20 * x * y)], axis=2)
    return ((waves + 1) * 127).astype(np.uint8)


def ours(pixels: np.ndarray, name: str) -> np.ndarray:
    """Through the plugin, with a fixed unit."""
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    return corrupted(images, name, SEVERITY, Unit(index=0, seed=1)).numpy()


def wheel(module: str) -> Corrupt:
    """A wheel's own `corrupt`, seeded through numpy's global generator."""
    found: Any = importlib.import_module(module)

    def run(pixels: np.ndarray, name: str) -> np.ndarray:
        np.random.seed(0)  # noqa: NPY002 - as its users do
        return np.asarray(found.corrupt(pixels, severity=SEVERITY, corruption_name=name))

    return run


def tried(run: Corrupt) -> tuple[list[str], list[str]]:
    """Names that fail, and names that run but whose bytes differ between two equal calls."""
    failed, unstable = [], []
    for name in CORRUPTIONS:
        try:
            first, second = run(photo(), name), run(photo(), name)
        except Exception as error:  # noqa: BLE001 - that a wheel fails is what is counted
            failed.append(f"{name} ({type(error).__name__})")
            continue
        if first.tobytes() != second.tobytes():
            unstable.append(name)
    return failed, unstable


def main() -> None:
    """Print one line a source; exit 1 when ours misses its bar."""
    warnings.simplefilter("ignore")
    sources: dict[str, Corrupt] = {"ours": ours}
    for module in ("corrupt_tta", "imagecorruptions"):
        try:
            sources[module] = wheel(module)
        except ImportError as error:
            print(f"{module} is not importable here ({error}); left out")
    perfect = False
    for name, run in sources.items():
        failed, unstable = tried(run)
        usable = len(CORRUPTIONS) - len(failed)
        print(
            f"{name:17s}{usable}/19 usable, {usable - len(unstable)}/{usable} reproducible   "
            + "; ".join([*failed, *unstable])
        )
        perfect |= name == "ours" and not failed and not unstable
    sys.exit(not perfect)


if __name__ == "__main__":
    main()
