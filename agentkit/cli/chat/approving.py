"""The user's word on one call: its plan and cost first, then yes, no, or other arguments. Bound to what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agentkit.agent.approvals import Approval
from agentkit.cli.chat.numbers import seconds, shown
from agentkit.errors import AgentkitError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agentkit.agent.approvals import ApprovalRequest
    from agentkit.cli.chat.conversation import Conversation
    from agentkit.cli.chat.terminal import Terminal

QUESTIONS = {"register": "freeze it? ", "run_batch": "draw them? "}
YES, NO, EDIT = ("", "y", "yes", "go", "ok"), ("n", "no"), ("e", "edit")
LAST_KEYS = ("direction", "null", "sesoi", "max_units", "units")
"""What people change most stands at the end, where the cursor is."""


class Approver:
    """Asks on a terminal.

    Args:
        terminal: shows the plan.
        ask: puts a question and returns the line that was typed.
        edit: shows a text to change and returns it.
    """

    def __init__(self, terminal: Terminal, ask: Callable[[str], str], edit: Callable[[str], str]) -> None:
        self._terminal, self._ask, self._edit = terminal, ask, edit

    def __call__(self, conversation: Conversation, request: ApprovalRequest) -> Approval:
        """Raises KeyboardInterrupt when the user ends the turn instead."""
        args = dict(request.args)
        while True:
            self._terminal.rest()
            self._show(conversation, request.tool, args)
            word, _, rest = (
                self._ask(f"{QUESTIONS.get(request.tool, 'run it? ')}[Y/n/edit] ").strip().partition(" ")
            )
            if word.lower() in YES:
                changed = args != dict(request.args)
                return Approval("edit", args, by="user") if changed else Approval("approve", by="user")
            if word.lower() in NO:
                reason = rest or self._ask("why? (the planner is told; Enter for nothing) ").strip()
                return Approval("reject", reason=reason, by="user")
            if word.lower() in EDIT:
                args = self._edited(conversation, request.tool, args)
            else:
                self._terminal.tell(
                    "error", text="answer y (yes), n (no, with a reason) or edit", fatal=False
                )

    def _show(self, conversation: Conversation, call: str, args: Mapping[str, Any]) -> None:
        try:
            cost = conversation.session.toolbox.cost(call, args)
            self._terminal.console.print(plan_panel(conversation, call, args, cost))
        except AgentkitError as error:
            self._terminal.console.print(f"  {call} {args}", markup=False)
            self._terminal.tell("error", text=f"as it stands this would be refused: {error}", fatal=False)

    def _edited(self, conversation: Conversation, call: str, args: dict[str, Any]) -> dict[str, Any]:
        """Other arguments that the call accepts; the same ones when the user gives up."""
        text = as_yaml(args)
        while True:
            try:
                text = self._edit(text)
            except (KeyboardInterrupt, EOFError):
                return args
            try:
                changed = from_yaml(text)
                conversation.session.toolbox.cost(call, changed)
            except AgentkitError as error:
                self._terminal.tell("error", text=f"{error} (Ctrl-C leaves it as it was)", fatal=False)
                continue
            return changed


def plan_panel(
    conversation: Conversation, call: str, args: Mapping[str, Any], cost: Mapping[str, Any]
) -> Panel:
    """What is to be run or frozen, on what, and what it will take."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim")
    rows.add_column()
    for name, value in _rows(conversation, call, args, cost):
        rows.add_row(name, value)
    title = {"register": "freeze this claim"}.get(call, f"run {cost.get('tool', call)}")
    return Panel(rows, title=f"[bold]{title}[/bold]", title_align="left", border_style="cyan", expand=False)


def _rows(
    conversation: Conversation, call: str, args: Mapping[str, Any], cost: Mapping[str, Any]
) -> list[tuple[str, Text]]:
    rows: list[tuple[str, Text]] = []
    claim = cost.get("claim") if call == "register" else None
    if claim:
        rows.append(("claim", Text(str(claim).partition("  ")[2] or str(claim), "bold")))
    if call == "register" and not claim:
        words = f"{args['metric']} of {args.get('condition') or args.get('contrast')}, {args['direction']}"
        rows.append(("claim", Text(f"{words}; null {args.get('null', 0)}", "bold")))
    if "tool" in cost:
        params = ", ".join(
            f"{k} {v}" for k, v in cost.get("params", {}).items() if k in _given(args) or k in TARGETS
        )
        rows.append(("tool", Text(f"{cost['tool']}  {params}")))
    if call == "register":
        rows.append(("sesoi", Text(f"{shown(args['sesoi'])}, the smallest effect of interest")))
    rows.append(("cost", Text(_cost(conversation, args, cost, confirms=call == "register"))))
    smallest = cost.get("smallest_detectable_effect")
    if call == "register" and smallest is not None and smallest > args["sesoi"] * (1 + 1e-9):
        words = f"would be refused: with {cost['max_units']} units nothing smaller than {shown(smallest)} could be shown"
        rows.append(("note", Text(f"{words}; raise max_units or sesoi", "yellow")))
    return rows


TARGETS = ("target", "data", "readout", "network")


def _given(args: Mapping[str, Any]) -> Mapping[str, Any]:
    params = args.get("params", args)
    return params if isinstance(params, dict) else {}


def _cost(
    conversation: Conversation, args: Mapping[str, Any], cost: Mapping[str, Any], *, confirms: bool
) -> str:
    units = f"{cost.get('units', 0):.0f} units"
    if confirms:
        known = cost.get("expected_units")
        most = cost.get("max_units") or args.get("max_units", 200)
        units = f"likely {known:.0f} fresh units, at most {most}" if known else f"at most {most} fresh units"
    parts = [units, f"about {seconds(cost['seconds'])}" if cost.get("seconds") else "time not known yet"]
    if cost.get("share_decided") is not None:
        parts.append(f"decided in {cost['share_decided']:.0%} of cases if the effect is the sesoi")
    if confirms:
        campaign = conversation.campaign
        weight = 1 / campaign.max_hypotheses if isinstance(campaign.max_hypotheses, int) else None
        parts.append(
            f"weight {weight:.3g} of alpha {campaign.alpha:g}" if weight else f"alpha {campaign.alpha:g}"
        )
    return "; ".join(parts)


def as_yaml(args: Mapping[str, Any]) -> str:
    """Arguments as a text to change; what is changed most comes last."""
    ordered = {k: v for k, v in args.items() if k not in LAST_KEYS and v is not None}
    ordered |= {k: args[k] for k in LAST_KEYS if k in args}
    return yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=100).rstrip("\n")


def from_yaml(text: str) -> dict[str, Any]:
    """The arguments in a changed text.

    Raises:
        ConfigError: not YAML, or no mapping.
    """
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())[:160]}") from None
    if not isinstance(value, dict):
        raise ConfigError("write one `key: value` a line")
    return {str(k): v for k, v in value.items()}
