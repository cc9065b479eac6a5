"""A TCP link to a PostgreSQL server that can be slow, or half-open: the client's packets are no longer answered.

Linux only: a socket filter throws away what the client sends before its kernel is told that it arrived, as when a
machine or a firewall in between forgets a connection. The server's side stays open: its session lives on.
"""

from __future__ import annotations

import contextlib
import ctypes
import random
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SO_ATTACH_FILTER = 26
PIECE = 1 << 16


class BadLink:
    """Listens on 127.0.0.1 and hands everything on to the server's socket file, until told otherwise."""

    def __init__(self, socket_file: Path, *, slowest_s: float = 0.0, seed: int = 0) -> None:
        self._file, self._slowest_s, self._rng = socket_file, slowest_s, random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._links: list[tuple[socket.socket, socket.socket]] = []
        self._silent: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, schema: str) -> str:
        """A store in this schema over this link; it is given up after two to four seconds without an answer."""
        limits = "keepalives_idle=1&keepalives_interval=1&keepalives_count=2&tcp_user_timeout=2000"
        search = f"options=-csearch_path%3D{schema}"
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable&{limits}&{search}"

    def half_open(self, *, after_request: bool) -> None:
        """Forget all present connections: at once, or once each has handed on one more request.

        Then the server does what it was asked, and its answer never arrives.
        """
        for client, server in self._links:
            if after_request:
                self._silent.add(client)
            else:
                _drop_what_arrives(client)
                self._silent.add(server)
        self._links = []

    def close(self) -> None:
        """Take no further connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._file))
                self._links.append((client, server))
                threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answers, args=(server, client), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        for piece in self._pieces(client):
            if client in self._silent:
                self._silent.add(server)  # what is asked now is answered to nobody
                _drop_what_arrives(client)
            server.sendall(piece)
        if client not in self._silent and server not in self._silent:
            server.close()  # a client that went away in the ordinary way

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        for piece in self._pieces(server):
            if server not in self._silent:
                client.sendall(piece)

    def _pieces(self, source: socket.socket) -> Iterator[bytes]:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                time.sleep(self._rng.random() * self._slowest_s)
                yield piece


def _drop_what_arrives(taken: socket.socket) -> None:
    """Attach the shortest socket filter there is: keep 0 bytes of every packet, so that none is acknowledged."""
    keep_nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(keep_nothing))
    taken.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
