"""Files of an actor, brought to the driver in pieces."""

from __future__ import annotations

from typing import Any

from agentkit.workers.ray_host import PIECE_BYTES


def fetch(ray: Any, actor: Any, file: str, *, timeout_s: float) -> bytes | None:
    """The whole file; None when its worker died meanwhile (its job ends as lost by itself)."""
    content = b""
    try:
        while piece := ray.get(actor.read.remote(file, len(content)), timeout=timeout_s):
            content += piece
            if len(piece) < PIECE_BYTES:
                break
    except ray.exceptions.RayError:
        return None
    return content
