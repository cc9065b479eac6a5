"""`Mailbox`: what other threads want from a thread that waits in `select`; a message wakes it."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class Mailbox:
    """Messages (what, argument) in their order. Any thread may put; one thread selects on it and takes."""

    def __init__(self) -> None:
        self._messages: deque[tuple[str, Any]] = deque()
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)

    def fileno(self) -> int:
        """Readable while there may be something to take."""
        return self._ours.fileno()

    def put(self, what: str, argument: Any) -> None:
        """Leave a message; nobody hears one that comes after `close`."""
        self._messages.append((what, argument))
        with contextlib.suppress(OSError):  # closed already
            self._theirs.send(b"!")

    def take(self) -> Iterator[tuple[str, Any]]:
        """All that is there, oldest first."""
        with contextlib.suppress(BlockingIOError):
            self._ours.recv(4096)
        while self._messages:
            yield self._messages.popleft()

    def close(self) -> None:
        """Wake nobody any more."""
        self._ours.close()
        self._theirs.close()
