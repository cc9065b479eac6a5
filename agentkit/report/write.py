"""Writing a report: Markdown, one HTML page, and the figures as files of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentkit.errors import ConfigError
from agentkit.report.facts import read_facts
from agentkit.report.html import to_html
from agentkit.report.markdown import to_markdown
from agentkit.report.sections import build

if TYPE_CHECKING:
    from pathlib import Path

    from agentkit.ledger import Campaign

FIGURES = "figures"


@dataclass(frozen=True)
class ReportPaths:
    """Where a report was written."""

    markdown: Path
    html: Path
    figures: tuple[Path, ...]


def write_report(
    campaign: Campaign, folder: Path, *, planner: str, title: str | None = None, goal: str = ""
) -> ReportPaths:
    """Write `report.md`, `report.html` and `figures/*.svg` of one campaign; equal ledgers give equal bytes.

    Args:
        campaign: what is reported.
        folder: created when it does not exist; files of an earlier report in it are replaced.
        planner: who proposed the claims (`offline`, `anthropic:NAME`, "" for a script); stated in the report.
        title: heading of the report; names the campaign unless given.
        goal: what the user asked, quoted.

    Raises:
        ConfigError: the folder cannot be written.
    """
    document = build(read_facts(campaign), planner=planner, title=title, goal=goal)
    figures = folder / FIGURES
    paths = ReportPaths(
        folder / "report.md",
        folder / "report.html",
        tuple(figures / f"{p.name}.svg" for p in document.pictures),
    )
    try:
        (figures if document.pictures else folder).mkdir(parents=True, exist_ok=True)
        for path, picture in zip(paths.figures, document.pictures, strict=True):
            _write(path, picture.svg)
        _write(paths.markdown, to_markdown(document, FIGURES))
        _write(paths.html, to_html(document))
    except OSError as error:
        place = error.filename or folder
        raise ConfigError(
            f"report: {place} cannot be written ({error.strerror}); name another folder"
        ) from None
    return paths


def _write(path: Path, words: str) -> None:
    """The whole file or none of it: a reader never sees half a report."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(words, encoding="utf-8", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
