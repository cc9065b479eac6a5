"""The target `intents:`: requests to a voice assistant."""

from __future__ import annotations

from typing import Any

import agentkit
from agentkit.errors import TargetError


def fingerprint(rest: str) -> str:
    """Hash of the texts and their labels; the URI has nothing after its colon."""
    if rest:
        raise TargetError(f"intents:{rest}: nothing may follow the colon; write intents:")
    from agentkit_input_noise.intents import content_hash

    return content_hash()


@agentkit.target("intents", fingerprint=fingerprint)
def intents(rest: str, device: str) -> Any:
    """378 requests to a voice assistant, six intents, slots labelled; test templates and fillers are new ones."""
    fingerprint(rest)
    from agentkit_input_noise.intents import load_intents

    return load_intents()
