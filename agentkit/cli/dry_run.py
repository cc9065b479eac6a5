"""`agentkit run FILE --dry-run`: what would run, what it would take, and what the store answers already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentkit.cli.output import emit, table
from agentkit.plugins import load_plugins

if TYPE_CHECKING:
    from agentkit.agent.preview import Preview
    from agentkit.study import StudyFile


def print_preview(file: StudyFile, *, as_json: bool) -> None:
    """Check the file, look into its store, and print; nothing is started or written.

    Raises:
        ConfigError: a fault in the file.
    """
    from agentkit.agent.preview import check, preview

    plugins = load_plugins()
    check(file, plugins)
    found = preview(file.study, plugins)
    emit({**found.content(), "store": file.study.store}, _text(found, file), as_json=as_json)


def _text(found: Preview, file: StudyFile) -> str:
    totals, study = found.content(), file.study
    rows = [
        (s.what, s.kind, s.tool, s.state, str(s.runs), str(s.units), str(s.known), _seconds(s.seconds))
        for s in found.steps
    ]
    header = ("step", "phase", "tool", "state", "runs", "units", "known", "seconds")
    lines = [f"campaign {found.campaign} in {study.store}: nothing was started", ""]
    lines += [table(rows, header), ""] if rows else []
    lines.append(
        f"at most {totals['runs']} runs; {totals['to_measure']} of {totals['units']} units to measure, "
        f"{totals['known']} are answered by the store; {_seconds(found.seconds)} s; {_usd(found.usd)}"
    )
    if found.planner is not None:
        lines.append(
            f"the goal is given to planner {found.planner}, which may add runs and claims"
            + (
                f", at most {study.budget.runs} runs in all"
                if study.budget.runs is not None
                else "; cap them with budget.runs"
            )
        )
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"about {value:.3g}" if value else "0"


def _usd(value: float | None) -> str:
    return (
        "USD unknown (the model decides how long it talks; cap it with budget.usd)"
        if value is None
        else f"USD {value:g}"
    )
