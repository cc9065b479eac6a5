"""Files a user names in params: by path, or by the SHA-256 of an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agentkit.errors import ParamError

if TYPE_CHECKING:
    from agentkit import Context

PREFIX = "sha256:"


def read_named(ctx: Context, name: str) -> bytes:
    """Bytes behind `sha256:HEX` (an artifact of an earlier run) or behind a path.

    Raises:
        ParamError: there is no such file.
    """
    if name.startswith(PREFIX):
        return ctx.read_artifact(name.removeprefix(PREFIX))
    path = Path(name)
    if not path.is_file():
        raise ParamError(f"no file {name!r}; write a path, or sha256:HEX of an artifact")
    return path.read_bytes()
