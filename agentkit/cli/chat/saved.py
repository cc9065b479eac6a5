"""What a run's tool saved, under the names it gave: readable copies beside the report of files kept by their hash."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.ledger import Campaign

LINKED_OVER = 32 * 2**20
"""Bytes: larger files (weights, arrays) are linked and not copied; nobody edits those in place."""
MOST_NAMES = 5


def saved_files(campaign: Campaign, run: str, store: Path, folder: Path) -> list[dict[str, Any]]:
    """The files of one run, each content once: `name` as the tool gave it, `path` to open, `sha256`, `media_type`.

    Jobs of one run that drew different figures under one name have one each.

    Args:
        campaign: whose run it is.
        run: such as `R3`.
        store: the folder of files named by their hash; what is not in it (yet) is left out.
        folder: takes the copies; two contents of one name become `heads.png` and `heads-2.png`.
    """
    found, taken = [], set[str]()
    for file in campaign.run(int(run[1:])).artifacts():
        source = next(iter(sorted(store.glob(f"{file.sha256}.*"))), None)
        if source is None:
            continue
        own = _free(_safe(file.name), taken)
        taken.add(own)
        path = _readable(source, folder / own, file.size)
        found.append(
            {"name": file.name, "path": str(path), "sha256": file.sha256, "media_type": file.media_type}
        )
    return found


def _safe(name: str) -> str:
    """A file's name and never a path, whatever the tool called it."""
    return re.sub(r"[^\w.,=+() -]", "-", name).lstrip(".- ") or "file"


def _free(name: str, taken: set[str]) -> str:
    stem, suffix = Path(name).stem, Path(name).suffix
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{stem}-{number}{suffix}"
    return free


def _readable(source: Path, target: Path, size: int) -> Path:
    """A copy under its name, or the kept file itself where none can be written."""
    try:
        if target.exists() and target.stat().st_size == size:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if size > LINKED_OVER:
            os.link(source, target)
        else:
            shutil.copyfile(source, target)
    except OSError:
        return source
    return target


def saved_line(runs: Sequence[Mapping[str, Any]]) -> str:
    """`heads.csv (4 parts), all.svg  in agentkit.report/default/runs/R3` for the runs that saved something, "" for none."""
    runs = [r for r in runs if r.get("artifacts")]
    if not runs:
        return ""
    parts = Counter(a["name"] for a in runs[-1]["artifacts"])
    named = [f"{n} ({count} parts)" if count > 1 else n for n, count in parts.items()]
    more = f" and {len(named) - MOST_NAMES} more" if len(named) > MOST_NAMES else ""
    said, folder = ", ".join(named[:MOST_NAMES]) + more, Path(runs[-1]["artifacts"][0]["path"]).parent
    if len(runs) == 1:
        return f"{said}  in {folder}"
    return f"{said}  of {runs[0]['run']} to {runs[-1]['run']}, each in {folder.parent}"
