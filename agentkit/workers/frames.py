"""The wire between a supervisor and its child: 4 bytes of length, then JSON, at most 8 MiB a frame."""

from __future__ import annotations

import json
import struct
import threading
from typing import TYPE_CHECKING, Any

from agentkit.errors import WorkerError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

MAX_FRAME = 8 << 20
_LENGTH = struct.Struct(">I")


class FrameTooLargeError(WorkerError):
    """A message above `MAX_FRAME`; arrays belong in `ctx.artifact`."""


def encode(message: dict[str, Any]) -> bytes:
    """One frame. Raises `FrameTooLargeError`, and `ValueError` for a NaN or an infinity."""
    body = json.dumps(message, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()
    if len(body) > MAX_FRAME:
        raise FrameTooLargeError(f"{len(body) / 1e6:.1f} MB result; store arrays with ctx.artifact")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Puts frames together again from whatever pieces arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The messages that `data` completes.

        Raises:
            WorkerError: the bytes are not frames (something else wrote to the connection).
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME:
                raise WorkerError(f"a frame of {length} bytes; at most {MAX_FRAME} are allowed")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            try:
                message = json.loads(body)
            except ValueError as error:
                raise WorkerError(f"a frame is not JSON: {error}") from None
            if not isinstance(message, dict):
                raise WorkerError(f"a frame holds a {type(message).__name__}, not an object")
            yield message


class FrameChannel:
    """Both directions over one socket; `send` may be called from several threads."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = FrameReader()
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message whole."""
        data = encode(message)
        with self._lock:
            self._connection.sendall(data)

    def receive(self) -> Iterator[dict[str, Any]]:
        """Messages until the other end closes (blocking)."""
        while data := self._connection.recv(1 << 16):
            yield from self._reader.feed(data)
