"""From what planner, toolbox and workers do to the events a view shows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from agentkit.cli.progress import RunProgress
from agentkit.errors import AgentkitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentkit.agent.recorder import CallSeen
    from agentkit.agent.toolbox import Toolbox
    from agentkit.cli.chat.events import View
    from agentkit.workers import Event

EVERY_S = 0.5
"""Least time between two progress events of one run."""


class Narrator:
    """Watches one conversation.

    Args:
        view: who is told.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self.toolbox: Toolbox | None = None
        self.saved: Callable[[str], list[dict[str, Any]]] = lambda run: []
        """Gives the files that a run saved."""
        self._runs: dict[str, RunProgress] = {}
        self._told: dict[str, float] = {}
        self.runs_seen = 0
        """Calls that measured something since the conversation began."""

    def on_text(self, text: str) -> None:
        """Words of the planner."""
        self._view.tell("text", text=text)

    def on_call(self, seen: CallSeen) -> None:
        """A call of the planner began, was answered, or failed."""
        if seen.what == "began":
            self._view.tell("tool_call", id=seen.id, call=seen.name, args=seen.args, **self._cost(seen))
        elif seen.what == "failed":
            self._view.tell("error", text=seen.error, call=seen.name, fatal=False)
        else:
            self._answered(seen)

    def _cost(self, seen: CallSeen) -> dict[str, Any]:
        if self.toolbox is None or seen.name in ("register", "status", "query", "report", "stop"):
            return {}
        try:
            cost = self.toolbox.cost(seen.name, seen.args)
        except AgentkitError:
            return {}  # the call itself will say why
        return {k: cost[k] for k in ("tool", "units", "seconds") if k in cost}

    def _answered(self, seen: CallSeen) -> None:
        answer, tell = seen.answer, self._view.tell
        if seen.name == "register":
            state = "planned" if seen.args.get("dry_run") else "frozen"
            tell("hypothesis", **{"hypothesis": None, **answer, "state": state})
        elif seen.name == "run_batch":
            self.runs_seen += 1
            files = self.saved(answer["run"])
            tell(
                "run", phase="confirm", seconds=seen.seconds, artifacts=files, **self._scale(answer), **answer
            )
        elif seen.name == "stop":
            tell("verdict", **self._scale(answer), **_verdict(answer))
        elif seen.name == "report":
            for row in answer.get("verdicts", []):
                tell("verdict", **row)
        elif "metrics" in answer:
            self.runs_seen += 1
            tool = seen.args.get("tool") or seen.name
            metrics = self._in_order(tool, answer["metrics"])
            told = {**answer, "metrics": metrics, "artifacts": self.saved(answer["run"])}
            tell("run", phase="explore", tool=tool, seconds=seen.seconds, **told)

    def _scale(self, answer: dict[str, Any]) -> dict[str, float]:
        """Null and smallest effect of a claim: what its numbers are rounded for, here as in the report."""
        if self.toolbox is None:
            return {}
        known = {h.ref: h.spec for h in self.toolbox.campaign.hypotheses()}
        spec = known.get(answer["hypothesis"])
        return {} if spec is None else {"null": spec.null, "sesoi": spec.sesoi}

    def _in_order(self, tool: str, metrics: dict[str, Any]) -> dict[str, Any]:
        """Metrics as the tool declares them, the first being the one it is about."""
        if self.toolbox is None or tool not in self.toolbox.plugins.tools:
            return metrics
        declared = [m.name for m in self.toolbox.plugins.tool(tool).metrics]
        return {m: metrics[m] for m in [*(n for n in declared if n in metrics), *metrics]}

    def on_event(self, event: Event) -> None:
        """A job went on."""
        run = self._runs.setdefault(event.run, RunProgress())
        run.take(event)
        now = time.monotonic()
        if run.is_over:
            del self._runs[event.run]
            self._view.tell("progress", run=event.run, done=run.done, total=run.total, over=True)
        elif now - self._told.get(event.run, 0.0) > EVERY_S:
            self._told[event.run] = now
            self._view.tell("progress", run=event.run, done=run.done, total=run.total, over=False)

    def on_warning(self, line: str) -> None:
        """Failed units, or a cap that is nearly reached."""
        self._view.tell("budget" if line.startswith("budget") else "error", text=line, fatal=False)


def _verdict(answer: dict[str, Any]) -> dict[str, Any]:
    lo, hi = answer.get("interval") or (None, None)
    names = ("hypothesis", "estimate", "units", "failed")
    kept: dict[str, Any] = {k: answer[k] for k in names if k in answer}
    return {**kept, "label": answer.get("label_if_stopped"), "lo": lo, "hi": hi}
