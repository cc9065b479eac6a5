"""What a tool wrote about its run in words: text files it left, shown whole where the run is reported."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from agentkit.report.document import Page

if TYPE_CHECKING:
    from pathlib import Path

    from agentkit.ledger import Run
    from agentkit.ledger.values import Artifact

TEXT = "text/plain"
MOST_PAGES = 60
LONGEST_PAGE = 200_000
"""Bytes: a tool's text is untrusted, and a report is read by people."""


def pages_of(run: Run, folder: Path) -> tuple[Page, ...]:
    """The run's text files by name, one a name: the first unit's. What is gone or altered says so in its place.

    Args:
        run: whose files.
        folder: where files lie under their hashes.
    """
    first: dict[str, Artifact] = {}
    for file in run.artifacts():
        if file.media_type == TEXT:
            first.setdefault(file.name, file)
    return tuple(
        Page(name.removesuffix(".txt"), _words(first[name], folder)) for name in sorted(first)[:MOST_PAGES]
    )


def _words(file: Artifact, folder: Path) -> str:
    if file.size > LONGEST_PAGE:
        return f"{file.size:,} bytes, too long for a page: {file.sha256}.txt among the run's files"
    try:
        content = (folder / f"{file.sha256}.txt").read_bytes()
    except OSError:
        return f"not here: {file.sha256}.txt is not among the files of this ledger"
    if hashlib.sha256(content).hexdigest() != file.sha256:
        return f"altered: {file.sha256}.txt does not hold the bytes that the ledger knows"
    return content.decode("utf-8", errors="replace")
