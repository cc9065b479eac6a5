"""Heads noted outside the store: against them a rebuilt chain shows. A file of JSON lines, or notes of a git commit."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentkit.errors import LedgerError
from agentkit.ledger.clock import now

if TYPE_CHECKING:
    from collections.abc import Mapping

GIT = "git"
NOTES = "refs/notes/agentkit"
HEAD = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Anchor:
    """The head of a campaign's chain at some time; `campaign` None: of any."""

    head: str
    campaign: str | None = None
    noted_at: str = ""

    def __str__(self) -> str:
        whose = f" of campaign {self.campaign!r}" if self.campaign else ""
        return f"anchor {self.head[:16]}…{whose}{f', noted {self.noted_at},' if self.noted_at else ''}"


def note(heads: Mapping[str, str], place: str) -> str:
    """Append the heads to a file, or to the notes of git's current commit for `git`; says where they are now.

    Args:
        heads: head of each campaign, as `verify` reports them.
        place: a path, or `git`.

    Raises:
        LedgerError: the file cannot be written, or git refuses.
    """
    at = now()
    lines = "".join(
        json.dumps(asdict(Anchor(head, campaign, at)), ensure_ascii=False) + "\n"
        for campaign, head in heads.items()
    )
    if place == GIT:
        _git("notes", f"--ref={NOTES}", "append", "-m", lines)
        return f"{NOTES} of commit {_git('rev-parse', '--short', 'HEAD').strip()}"
    try:
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise LedgerError(f"{place} cannot be written ({error.strerror}); the heads were not noted") from None
    return place


def noted(place: str) -> list[Anchor]:
    """Anchors from a head in hex, a file that `note` wrote, or `git`.

    Raises:
        LedgerError: it is none of these, or holds no anchor.
    """
    if HEAD.fullmatch(place):
        return [Anchor(place)]
    if place == GIT:
        blobs = [line.split()[0] for line in _git("notes", f"--ref={NOTES}", "list").splitlines() if line]
        text = "\n".join(_git("cat-file", "blob", blob) for blob in blobs)
    else:
        try:
            text = Path(place).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise LedgerError(
                f"anchor {place!r}: give a head (64 hex digits), a file that --anchor-to wrote, or git"
            ) from None
    found = [_parsed(line, place) for line in text.splitlines() if line.strip()]
    if not found:
        raise LedgerError(f"anchor {place!r}: no head is noted there")
    return found


def _parsed(line: str, place: str) -> Anchor:
    if HEAD.fullmatch(line.strip()):
        return Anchor(line.strip())
    try:
        values = json.loads(line)
        anchor = Anchor(**{name: values[name] for name in ("head", "campaign", "noted_at")})
    except (ValueError, KeyError, TypeError):
        raise LedgerError(f"anchor {place!r}: {line[:80]!r} is not a noted head") from None
    if not HEAD.fullmatch(str(anchor.head)):
        raise LedgerError(f"anchor {place!r}: {str(anchor.head)[:80]!r} is not a head (64 hex digits)")
    return anchor


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 - no shell; the user's git
    except OSError:
        raise LedgerError("git is not installed; note the heads in a file") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise LedgerError(f"git {arguments[0]}: {reason}; run it inside a repository with a commit")
    return done.stdout
