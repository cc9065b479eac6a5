"""One driver per campaign: an operating-system lock that dies with its holder and needs no clock."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from typing import TYPE_CHECKING

from agentkit.errors import CampaignLockedError

if TYPE_CHECKING:
    from pathlib import Path


class FileLease:
    """An exclusive lock on a file beside the store, which names its holder and vanishes on release.

    Raises:
        CampaignLockedError: another driver holds it; the message names its process and host.
    """

    def __init__(self, path: Path, campaign: str) -> None:
        self._path = path
        self._descriptor = self._acquire(campaign)
        os.ftruncate(self._descriptor, 0)
        holder = {"pid": os.getpid(), "host": socket.gethostname()}
        os.write(self._descriptor, json.dumps(holder).encode())

    def _acquire(self, campaign: str) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.read(descriptor, 1000).decode(errors="replace")
                os.close(descriptor)
                raise CampaignLockedError(_locked_by(campaign, holder)) from None
            if self._is_current(descriptor):
                return descriptor
            os.close(descriptor)  # its holder removed the file between our open and our lock: try the new one

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let the next driver in."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def _locked_by(campaign: str, holder: str) -> str:
    try:
        known = json.loads(holder)
        who = f"process {known['pid']} on {known['host']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return f"campaign {campaign!r} is being driven by {who}; wait for it, or end it, then go on"
