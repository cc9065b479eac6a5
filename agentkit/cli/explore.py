"""`agentkit tools run NAME`: one exploration without a planner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit.cli.output import emit, table
from agentkit.cli.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.measurements import Measurements


def explore_tool(
    name: str, pairs: Sequence[tuple[str, Any]], *, units: int, store: str, campaign: str, workers: str, fresh: bool, as_json: bool
) -> None:  # fmt: skip
    """Run one tool, record it as exploration, and print per metric and condition the mean difference to baseline.

    Raises:
        ParamError: an unknown tool or param, with near names.
    """
    from agentkit.agent.answers import explore_answer
    from agentkit.laboratory import Lab
    from agentkit.plugins import installed_plugins

    installed_plugins().tool(name).parse(dict(pairs))  # refused before a store is made
    with Progress() as progress, Lab(store, workers=workers, notify=progress.line, on_event=progress) as lab:
        opened = lab.open_campaign(campaign)
        toolbox = lab.toolbox(opened, session="tools-run", fresh=fresh)
        answer = toolbox.call(
            f"call-{len(opened.decisions('call_started')) + 1}",
            "explore",
            {"tool": name, "params": dict(pairs), "units": units},
        )
        measured = lab.ledger.run(answer["run"]).measurements()
        answer = explore_answer(lab.ledger.run(answer["run"]), measured, lab.plugins.tool(name))
    emit(answer, _text(answer, measured), as_json=as_json)


def _text(answer: dict[str, Any], measured: Measurements) -> str:
    rows = []
    for metric, found in answer["metrics"].items():
        baseline = found["baseline"]
        rows.append((metric, "baseline", "" if baseline is None else f"{baseline:.4g}", ""))
        for condition, mean, error in zip(found["conditions"], found["mean"], found["se"], strict=True):
            rows.append((metric, condition, f"{mean:+.4g}", f"{error:.2g}"))
    header = ("metric", "condition", "mean difference", "se")
    return f"{answer['run']}  {len(measured.units)} units, exploratory, never evidence\n{table(rows, header)}"
