"""The target `variants:FILE.jsonl`: texts that a language model rewrote beforehand."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import agentkit
from agentkit.errors import TargetError


def fingerprint(rest: str) -> str:
    """Hash of the file's bytes."""
    if not rest or not Path(rest).is_file():
        raise TargetError(f"variants:{rest} is no file; write one: agentkit noise variants --planner NAME")
    return hashlib.sha256(Path(rest).read_bytes()).hexdigest()


@agentkit.target("variants", fingerprint=fingerprint)
def variants(rest: str, device: str) -> Any:
    """variants:FILE.jsonl, texts rewritten by a language model (agentkit noise variants), used instead of rules."""
    from agentkit_input_noise.variants import read

    fingerprint(rest)
    return read(Path(rest))
