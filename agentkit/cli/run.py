"""`agentkit run STUDY.yaml`: lines of what happens on stderr, the verdict table on stdout."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from agentkit.cli.output import emit, say
from agentkit.cli.progress import Progress
from agentkit.study import load_study

if TYPE_CHECKING:
    from pathlib import Path


def run_study(
    study: Path,
    *,
    resume: bool,
    store: str | None,
    workers: str | None,
    report: str | None,
    takeover: bool,
    as_json: bool,
) -> None:
    """Run a study file and print its verdicts; options override the file's own keys."""
    file = load_study(study)
    overrides = {"store": store, "workers": workers, "report": report}
    plan = file.study.model_copy(update={k: v for k, v in overrides.items() if v is not None})
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
        result = lab.run(file.with_study(plan), resume=resume)
    if result.text:
        say(result.text)
    lines = [render_table(list(result.verdicts))]
    lines += [f"report  {path}" for path in (result.report, result.html) if path]
    lines += [f"ledger  {plan.store}", f"head    {result.head}"]
    emit(asdict(result), "\n".join(lines), as_json=as_json)
