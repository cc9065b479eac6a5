"""`JobLog`: what a job printed. The first 64 KiB become events, the next 16 MiB a file, the rest is only counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import BufferedWriter
    from pathlib import Path

KEPT_BYTES = 64 << 10
FILE_BYTES = 16 << 20


class JobLog:
    """Collects the output of one job; `file` is created only when the events do not hold it all."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stream: BufferedWriter | None = None
        self._kept: list[bytes] = []
        self._written = 0
        self.size = 0

    @property
    def file_name(self) -> str | None:
        """Name of the file, if there is one."""
        return self._file.name if self._written else None

    def add(self, stream: str, data: bytes) -> str:
        """Take some output; returns the part of it that goes into a `log` event, as text."""
        room = max(0, KEPT_BYTES - self.size)
        self.size += len(data)
        if room:
            self._kept.append(data[:room])
        if self.size > KEPT_BYTES:
            self._write(data)
        return data[:room].decode("utf-8", errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")

    def close(self) -> int:
        """Close the file; returns how many bytes the job printed."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        return self.size

    def _write(self, data: bytes) -> None:
        """The file holds everything from the first byte on, up to its limit."""
        try:
            if self._stream is None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self._file.open("wb")
                data = b"".join(self._kept)[: self.size - len(data)] + data
            data = data[: FILE_BYTES - self._written]
            self._written += self._stream.write(data)
        except OSError:  # a full disk costs the overflow of a log, never the job
            self._written = FILE_BYTES
