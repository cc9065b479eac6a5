"""Where all randomness comes from: 63-bit seeds derived by SHA-256, named sub-streams, no global state."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

SEED_BITS = 63
"""Seeds fit a signed 64-bit column of any SQL database."""


def derive_seed(*parts: object) -> int:
    """First 63 bits of `sha256("part|part|…")`: equal parts, equal seed, on every machine."""
    digest = hashlib.sha256("|".join(str(p) for p in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)


def unit_seed(root: str, phase: str, spec_sha256: str, unit: int, retry: int = 0) -> int:
    """The seed of one unit: any change of root, phase, spec or unit changes it.

    `retry` rises only when a seed is already taken by another run of the store.
    """
    return derive_seed(root, phase, spec_sha256, unit, retry)


def numpy_rng(seed: int, stream: str) -> np.random.Generator:
    """A numpy generator for one named sub-stream of a unit (PCG64)."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(derive_seed(seed, stream)))


def torch_rng(seed: int, stream: str, device: str = "cpu") -> torch.Generator:
    """A torch generator for one named sub-stream of a unit, on the device that will draw."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, stream))
