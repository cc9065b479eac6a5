"""Small models that this plugin trains itself: on first use, from a fixed seed, kept as a file.

The file's name holds the recipe (what it was trained on, how, with which versions), and the target's
fingerprint is the hash of the file's bytes: two machines whose arithmetic differs in the last bit train two
different files, and a registered claim then says which one it is about.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.generic]]


def folder() -> Path:
    """Where trained models are kept: `agentkit` in the user's cache folder (XDG_CACHE_HOME)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "agentkit" / "input_noise"


def model_file(name: str, recipe: Mapping[str, str], train: Callable[[], Arrays]) -> Path:
    """The file of one trained model, made by `train()` when it is not there yet; never half written.

    Args:
        name: what the file is called before its recipe's hash.
        recipe: everything that decides the result.
        train: gives named arrays.
    """
    from safetensors.numpy import save

    text = "|".join(f"{key}={value}" for key, value in sorted(recipe.items()))
    path = folder() / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"
    if path.exists():
        return path
    content = save(dict(sorted(train().items())), metadata=dict(recipe))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    Path(temporary).replace(path)
    return path


def read(path: Path) -> Arrays:
    """The named arrays of a model file."""
    from safetensors.numpy import load_file

    return dict(load_file(path))


def file_sha256(path: Path) -> str:
    """Hash of the bytes: the target's fingerprint."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
