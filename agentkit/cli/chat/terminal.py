"""Events for people: one line per event where one will do, numbers with n and interval, ids that can be typed back."""

from __future__ import annotations

import shutil
import sys
import threading
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from agentkit.cli.chat.explored import explored_table
from agentkit.cli.chat.numbers import estimate_and_interval, seconds, shown
from agentkit.cli.chat.said import Unsaid
from agentkit.cli.chat.saved import saved_line
from agentkit.cli.chat.wrapping import Wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.status import Status

COLOURS = {
    "supported": "bold green",
    "equivalent": "bold cyan",
    "contradicted": "bold red",
    "invalid": "bold red",
    "inconclusive": "bold yellow",
}
QUIET_CALLS = ("status", "query", "stop", "report", "register")
PIPE_WIDTH = 100
MOST_ARGUMENTS = 160
Style = str


class Terminal:
    """Shows events on stdout; without a terminal there are no colours, no spinner, and lines stay whole."""

    def __init__(self) -> None:
        live = sys.stdout.isatty()
        width = None if live else PIPE_WIDTH
        self.console = Console(highlight=False, width=width, soft_wrap=not live)
        self.live = live
        self._words = Wrapped(
            self._write, min(shutil.get_terminal_size().columns - 2, 110) if live else None, 2
        )
        self._status: Status | None = None
        self._judged: dict[str, str] = {}
        self._unsaid = Unsaid()
        self._stopped: dict[str, Mapping[str, Any]] = {}
        self._confirmed: list[Mapping[str, Any]] = []
        self._lock = threading.RLock()
        self._spent: dict[str, float] = {}

    # ---- events

    def tell(self, type: str, **data: Any) -> None:
        """Show one event."""
        with self._lock:
            if type not in ("text", "progress"):
                self._rest()
            getattr(self, f"_{type}")(data)

    def show(self, text: str, data: Any) -> None:
        """The answer to a slash command."""
        with self._lock:
            self._rest()
            self.console.print(text, markup=False, soft_wrap=True)

    def banner(self, data: Mapping[str, Any]) -> None:
        """Who plans, where it is kept, what can be done, what could not be loaded."""
        planner = data["planner"]
        what = (
            "rules and statistics, not a language model; set ANTHROPIC_API_KEY for Claude"
            if planner == "offline"
            else data["why"]
        )
        line = Text()
        line.append(f"agentkit {data['version']}", "bold")
        line.append(" | planner: ").append(planner, "bold cyan").append(f" ({what})", "dim")
        self.console.print(line)
        where = f"{data['store']} | campaign {data['campaign']} | workers {data['workers']} | approval: {data['approve']}"
        self.console.print(where, style="dim", markup=False)
        self.console.print(
            f"{data['plugins']} plugins, {data['tools']} tools. /help for commands, Ctrl-D to leave",
            style="dim",
        )
        for error in data["not_loaded"]:
            self.console.print(
                f"not loaded: {error} (agentkit doctor says more)", style="yellow", markup=False
            )

    def thinking(self, text: str = "thinking") -> None:
        """A spinner until the next event, on a terminal."""
        if self.live and self._status is None:
            self._status = self.console.status(f"[dim]{text}[/dim]", spinner="dots")
            self._status.start()

    def rest(self) -> None:
        """End a begun line and the spinner, so that somebody else may write."""
        with self._lock:
            self._rest()

    # ---- each type

    def _session(self, data: Mapping[str, Any]) -> None:
        if data["turns"]:
            self._line(
                f"session {data['id']}", f"  campaign {data['campaign']}, {data['turns']} turns so far", "dim"
            )

    def _turn(self, data: Mapping[str, Any]) -> None:
        self.thinking()

    def _text(self, data: Mapping[str, Any]) -> None:
        self._stop_status()
        self._words.add(self._unsaid.pass_on(data["text"]))

    def _tool_call(self, data: Mapping[str, Any]) -> None:
        if data["call"] in QUIET_CALLS:
            self.thinking(data["call"])
            return
        if data["call"] == "run_batch":
            self.thinking(f"drawing fresh units for {data['args'].get('hypothesis')}")
            return
        args = dict(data["args"])
        params = args.get("params", args) if data["call"] == "explore" else args
        said = ", ".join(f"{k}={_plain(v)}" for k, v in params.items() if k not in ("units", "tool"))
        cost = (
            f"{data.get('units', 8)} units, about {seconds(data['seconds'])}" if data.get("seconds") else ""
        )
        line = Text("  ● ", "cyan").append(str(data.get("tool") or data["call"]), "bold")
        line.append(f"  {said[:MOST_ARGUMENTS]}").append(f"  {cost}".rstrip(), "dim")
        self.console.print(line)
        self.thinking("measuring")

    def _approval(self, data: Mapping[str, Any]) -> None:
        if data["decision"] is None:  # else the user has just typed it
            self._line("waits for approval  ", f"{data['call']} {_plain(data['args'])}", "bold yellow")

    def _progress(self, data: Mapping[str, Any]) -> None:
        if self._status is not None and not data["over"]:
            total = max(data["total"], 1)
            filled = round(20 * data["done"] / total)
            bar = f"[cyan]{'━' * filled}[/cyan][dim]{'━' * (20 - filled)}[/dim]"
            self._status.update(
                f"{data['run']}  {bar} {data['done']:.0f}/{total} units  [dim]Ctrl-C cancels[/dim]"
            )

    def _run(self, data: Mapping[str, Any]) -> None:
        if data["phase"] == "explore":
            for line in explored_table(data, self.console.width):
                self.console.print(line)
            if files := saved_line([data]):
                self._line("  saved  ", files, "dim")
            self.thinking()
            return
        self._confirmed.append(data)
        run = f"  {data['run']}" if data.get("run") else " "
        line = Text(f"{run}  {data['hypothesis']}  ", "dim").append(estimate_and_interval(data))
        line.append(f"  {data['state']}", "green" if data["state"] == "decided" else "dim")
        if data.get("failed"):
            line.append(f"  {data['failed']} failed", "yellow")
        self.console.print(line)
        self.thinking()

    def _hypothesis(self, data: Mapping[str, Any]) -> None:
        if data["state"] == "planned":
            self.thinking()
            return
        line = Text().append(f"{data['hypothesis']} frozen: ", "bold").append(data["claim"])
        line.append(f"; at most {data['max_units']} units; fresh seeds", "dim")
        self.console.print(line)

    def _verdict(self, data: Mapping[str, Any]) -> None:
        """A verdict of the report is said at once; that of a stop waits for it, since its level may still move."""
        if "verdict" in data:
            self._stopped.pop(str(data["hypothesis"]), None)
            self._judge(data)
        else:
            self._stopped[str(data["hypothesis"])] = data

    def _settle(self) -> None:
        """At the end of a turn: verdicts that no report told, and what the confirming runs saved."""
        for data in self._stopped.values():
            self._judge(data)
        if files := saved_line(self._confirmed):
            self._line("saved   ", files, "dim")
        self._stopped, self._confirmed = {}, []

    def _judge(self, data: Mapping[str, Any]) -> None:
        ref = str(data["hypothesis"])
        said = f"{data['label']} {estimate_and_interval(data)}"
        if data.get("state") in (None, "closed") and self._judged.get(ref) != said:
            self._judged[ref] = said
            line = (
                Text("verdict ")
                .append(f"{ref}: ", "bold")
                .append(data["label"], COLOURS.get(data["label"], "bold"))
            )
            line.append(f", {estimate_and_interval(data)}")
            self.console.print(line)
            if sentence := data.get("sentence"):
                self._unsaid.told.add(f"{ref}: {sentence}")
                claim = sentence.removeprefix(f"{data['label']}: ").partition(" (estimate ")[0]
                self.console.print(Text(f"  {claim}"))

    def _report(self, data: Mapping[str, Any]) -> None:
        self._settle()
        count = len(data["figures"])
        figures = (
            f", {count} figure{'s' if count != 1 else ''} in {_folder(data['figures'][0])}" if count else ""
        )
        self._line("report  ", f"{data['html']}{figures}", "dim")

    def _budget(self, data: Mapping[str, Any]) -> None:
        if data.get("final"):
            self._settle()
        if not data.get("final"):
            self._line("budget  ", data["text"].removeprefix("budget").strip(), "yellow")
        elif data["spent"] != self._spent and {"usd", "tokens"} & set(data["spent"]):
            self._spent = dict(data["spent"])
            self._line("spent   ", data["text"], "dim")

    def _error(self, data: Mapping[str, Any]) -> None:
        if data.get("fatal"):
            self._line("error: ", data["text"], "bold red")
        else:
            self._line("  ! ", data["text"], "yellow")

    def _end(self, data: Mapping[str, Any]) -> None:
        if data.get("session"):
            self._line("", f"session {data['session']}: go on with agentkit chat -c", "dim")

    # ---- inside

    def _line(self, head: str, text: str, style: Style) -> None:
        self.console.print(
            Text().append(head, style).append(text, "" if style.startswith("bold") else style), soft_wrap=True
        )

    def _rest(self) -> None:
        self._stop_status()
        self._words.add(self._unsaid.end())
        self._words.end()

    def _stop_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _write(self, text: str) -> None:
        self.console.file.write(text)
        self.console.file.flush()


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) if len(value) < 7 else f"{len(value)} values"
    return shown(value) if isinstance(value, float) else str(value)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
