"""`agentkit run STUDY.yaml`: lines of what happens on stderr, the verdict table on stdout."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from agentkit.cli.config import with_unsaid
from agentkit.cli.output import emit, say
from agentkit.cli.progress import Progress
from agentkit.errors import ConfigError
from agentkit.study import StudyFile, load_study, parse_study

if TYPE_CHECKING:
    from collections.abc import Sequence

DECIDED = ("supported", "contradicted", "equivalent")
REQUIRED = {"supported": ("supported",), "decided": DECIDED}
NOT_AS_REQUIRED = 6


def run_study(
    study: str,
    *,
    resume: bool,
    fresh: bool,
    dry_run: bool,
    require: str | None,
    store: str | None,
    workers: str | None,
    report: str | None,
    takeover: bool,
    as_json: bool,
) -> None:
    """Run a study file and print its verdicts; options override the file's own keys.

    `fresh` measures again what the ledger would answer, `dry_run` starts nothing, `require` exits 6 on other verdicts.
    """
    if require is not None and require not in REQUIRED:
        raise ConfigError(f"--require {require!r}: supported or decided is allowed")
    file = _read(study)
    overrides = {"store": store, "workers": workers, "report": report}
    plan = with_unsaid(file.study).model_copy(update={k: v for k, v in overrides.items() if v is not None})
    if dry_run:
        from agentkit.cli.dry_run import print_preview

        print_preview(file.with_study(plan), as_json=as_json)
        return
    from agentkit.laboratory import Lab
    from agentkit.report import render_table

    with (
        Progress() as progress,
        Lab(
            plan.store,
            planner=plan.planner,
            workers=plan.workers,
            notify=progress.line,
            on_event=progress,
            takeover=takeover,
        ) as lab,
    ):
        for error in lab.plugins.errors:
            say(f"not loaded: {error}")
        result = lab.run(file.with_study(plan), resume=resume, fresh=fresh)
    if result.text:
        say(result.text)
    lines = [render_table(list(result.verdicts))]
    lines += [f"report  {path}" for path in (result.report, result.html) if path]
    lines += [f"ledger  {plan.store}", f"head    {result.head}"]
    emit(asdict(result), "\n".join(lines), as_json=as_json)
    if require is not None:
        _insist(result.verdicts, require)


def _read(study: str) -> StudyFile:
    """The study behind a path, or on stdin for `-`."""
    if study != "-":
        return load_study(study)
    try:
        return parse_study(sys.stdin.buffer.read().decode("utf-8"), "<stdin>")
    except UnicodeDecodeError as error:
        raise ConfigError(f"<stdin>: not UTF-8 text (byte {error.start})") from None


def _insist(verdicts: Sequence[dict[str, Any]], require: str) -> None:
    """Exit 6 unless there is a verdict and all are what is required."""
    other = [f"{v['verdict']} {v['label']}" for v in verdicts if v["label"] not in REQUIRED[require]]
    if other or not verdicts:
        say(f"required {require}: {', '.join(other) or 'no claim was made'}")
        raise typer.Exit(NOT_AS_REQUIRED)
