"""Slash commands: a name, what follows it, and a function that answers. Unknown names get near names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit.agent.budget import CURRENCIES
from agentkit.agent.planners import BUILT_IN
from agentkit.cli.chat.conversation import spent_of
from agentkit.cli.chat.settings import POLICIES
from agentkit.cli.output import table
from agentkit.errors import AgentkitError, ConfigError, near_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentkit.cli.chat.conversation import Conversation

Answer = tuple[str, Any]
MOST_SHOWN_ROWS = 50
MOST_CELL = 60


class Quit(Exception):  # noqa: N818 - no error: the user leaves
    """`/quit`."""


def run_command(conversation: Conversation, line: str) -> int:
    """Do one slash command; returns 0, or the exit code of what was wrong.

    Raises:
        Quit: the user leaves.
    """
    name, _, rest = line.strip().removeprefix("/").partition(" ")
    try:
        if name not in COMMANDS:
            raise ConfigError(f"no command /{name}. {_near(name)}")
        text, data = COMMANDS[name][1](conversation, rest.strip())
    except AgentkitError as error:
        conversation.view.tell("error", text=str(error), code=error.exit_code, fatal=True)
        return error.exit_code
    conversation.view.show(text, data)
    return 0


def _near(name: str) -> str:
    return near_names(f"/{name}", [f"/{c}" for c in COMMANDS])


def _tools(conversation: Conversation, rest: str) -> Answer:
    from agentkit.cli.tools import page

    plugins = conversation.lab.plugins
    if rest in plugins.tools:
        return page(plugins, plugins.tool(rest))
    words = rest.casefold().split()
    named = [t for n, t in sorted(plugins.tools.items()) if all(w in n for w in words)]
    kept = named or [
        t for _, t in sorted(plugins.tools.items())
        if all(w in f"{t.name} {t.description}".casefold() for w in words)
    ]  # fmt: skip
    if not kept:
        raise ConfigError(f"no tool about {rest!r}. {near_names(rest, plugins.tools)}")
    rows = [(t.name, t.summary) for t in kept]
    return f"{table(rows, ('tool', 'what it does'))}\n/tools NAME shows params, ranges and metrics", [
        r[0] for r in rows
    ]


def _plan(conversation: Conversation, rest: str) -> Answer:
    """What is frozen and still open, with what it may yet take."""
    from agentkit.agent.answers import formula

    campaign, toolbox = conversation.campaign, conversation.session.toolbox
    rows, data = [], []
    for h in campaign.hypotheses():
        if h.state == "closed":
            continue
        status = campaign.status(h)
        cost = toolbox.cost("run_batch", {"hypothesis": h.ref, "units": min(1000, max(1, status.units_left))})
        time = f"{cost['seconds']:.0f} s" if cost.get("seconds") else "?"
        rows.append((h.ref, formula(h.spec), str(status.units), str(status.units_left), time))
        data.append({"hypothesis": h.ref, "units": status.units, "units_left": status.units_left, **cost})
    if not rows:
        return (
            "nothing is open: every claim has its verdict, or none was frozen. Ask a question to make a plan",
            [],
        )
    head = ("open", "claim", "units so far", "units left", "at most")
    return f"{table(rows, head)}\nsay continue to go on, or stop to close them", data


def _budget(conversation: Conversation, rest: str) -> Answer:
    """Spent and allowed; `/budget runs=80 usd=2` changes caps, `/budget runs=none` lifts one."""
    account = conversation.session.account
    changes = {}
    for word in rest.split():
        currency, equals, value = word.partition("=")
        if currency not in CURRENCIES or not equals:
            hint = near_names(currency, CURRENCIES)
            raise ConfigError(f"/budget {word}: write CURRENCY=AMOUNT, for example runs=80. {hint}")
        changes[currency] = _amount(word, value)
    for currency, cap in changes.items():
        account.allow(currency, cap)
    conversation.budget = conversation.budget.model_copy(update=changes)
    caps = {c: getattr(account.budget, c) for c in CURRENCIES if getattr(account.budget, c) is not None}
    return account.line(), {"spent": spent_of(account), "caps": caps}


def _amount(word: str, value: str) -> float | int | None:
    if value in ("none", "off", ""):
        return None
    try:
        amount = float(value)
    except ValueError:
        raise ConfigError(f"/budget {word}: {value!r} is no number; write none to lift the cap") from None
    if not 0 <= amount < 1e15:
        raise ConfigError(f"/budget {word}: an amount >= 0 is allowed")
    return int(amount) if amount.is_integer() else amount


def _approve(conversation: Conversation, rest: str) -> Answer:
    if rest:
        conversation.change(approve=rest)
    said = {
        "auto": "nothing is asked about",
        "ask": "freezing a claim and long explorations are asked about",
        "never": "freezing a claim is refused",
    }
    return f"approval: {conversation.approve} ({said.get(conversation.approve, 'as the file says')})", {
        "approve": conversation.approve
    }


def _status(conversation: Conversation, rest: str) -> Answer:
    from agentkit.report import render_table, verdict_table

    campaign = conversation.campaign
    campaign.verdicts()
    rows = verdict_table(campaign)
    runs = campaign.runs()
    explored = sum(r.phase == "explore" for r in runs)
    head = (
        f"campaign {campaign.key}, alpha {campaign.alpha:g}: {len(rows)} claims, {explored} explorations, "
        f"{len(runs) - explored} confirming runs; session {conversation.session.id}; planner {conversation.planner}"
    )
    text = f"{head}\n{render_table(rows)}" if rows else f"{head}\nnothing is registered yet"
    return text, {
        "campaign": campaign.key,
        "session": conversation.session.id,
        "verdicts": rows,
        "runs": len(runs),
    }


def _why(conversation: Conversation, rest: str) -> Answer:
    from agentkit.cli.chat.why import why

    return why(conversation, rest)


def _sql(conversation: Conversation, rest: str) -> Answer:
    """One SELECT, on a connection that can do nothing else."""
    if not rest:
        rest = "SELECT name AS \"table\" FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%' ORDER BY name"
    rows = conversation.lab.ledger.query(rest.rstrip(";"))
    if not rows:
        return "no rows", []
    cells = [[_cell(v) for v in row.values()] for row in rows[:MOST_SHOWN_ROWS]]
    more = f"\n… {len(rows) - MOST_SHOWN_ROWS} more rows" if len(rows) > MOST_SHOWN_ROWS else ""
    return f"{table(cells, list(rows[0]))}{more}", rows


def _cell(value: Any) -> str:
    text = (
        "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value).replace("\n", " ")
    )
    return text if len(text) <= MOST_CELL else f"{text[: MOST_CELL - 1]}…"


def _undo(conversation: Conversation, rest: str) -> Answer:
    old = conversation.session.id
    conversation.go_to(conversation.session.undone().id)
    return f"back to before your last words (session {old} keeps them); runs and claims stay recorded", {
        "session": conversation.session.id
    }


def _fork(conversation: Conversation, rest: str) -> Answer:
    if rest and not rest.isdigit():
        raise ConfigError(f"/fork {rest}: write the number of a planner's turn, or nothing for the newest")
    old = conversation.session.id
    conversation.go_to(conversation.session.fork(turn=int(rest) if rest else None).id)
    return f"now in session {conversation.session.id}, forked from {old}", {
        "session": conversation.session.id
    }


def _export(conversation: Conversation, rest: str) -> Answer:
    from pathlib import Path

    from agentkit.cli.chat.transcript import write_transcript
    from agentkit.report import write_report

    folder = Path(rest) if rest else conversation.folder
    conversation.campaign.verdicts()
    paths = write_report(conversation.campaign, folder, planner=conversation.planner)
    words = write_transcript(conversation.session, folder / f"chat-{conversation.session.id}.md")
    made = [str(p) for p in (words, paths.markdown, paths.html, *paths.figures)]
    return "\n".join(f"wrote {p}" for p in made), made


def _planner(conversation: Conversation, rest: str) -> Answer:
    if not rest:
        known = ", ".join(sorted({*BUILT_IN, *conversation.lab.plugins.planners}))
        return (
            f"planner: {conversation.planner} ({conversation.why}). Change it with /planner NAME; known: {known}",
            {"planner": conversation.planner},
        )
    conversation.change(planner=rest)
    return f"planner: {conversation.planner}", {"planner": conversation.planner}


def _help(conversation: Conversation, rest: str) -> Answer:
    shown = {n: c for n, c in COMMANDS.items() if n != "model"}
    rows = [(f"/{name} {c[0][0]}".rstrip(), c[0][1]) for name, c in shown.items()]
    examples = (
        "Ask in plain words, for example:\n"
        "  how well does MiniLM find addresses with typos? rates 0.05 to 0.4\n"
        "  which head of layer 3 carries most of the embedding?\n"
        "  does dropping 20 % of the words lower the cosine by more than 0.05? register and test it\n"
        "Ctrl-C ends the running job, again the turn. Explored numbers are never evidence; verdicts are."
    )
    return f"{table(rows, ('command', 'does'))}\n\n{examples}", [r[0] for r in rows]


def _quit(conversation: Conversation, rest: str) -> Answer:
    raise Quit


COMMANDS: dict[str, tuple[tuple[str, str], Callable[[Conversation, str], Answer]]] = {
    "tools": (("[WORD|NAME]", "what can be perturbed, or one tool's params"), _tools),
    "plan": (("", "claims that are frozen and open, and what they may yet take"), _plan),
    "budget": (("[runs=80 …]", "spent and allowed; changes caps"), _budget),
    "approve": ((f"[{'|'.join(POLICIES)}]", "what is asked about before it happens"), _approve),
    "status": (("", "campaign, session, and every claim with its verdict"), _status),
    "why": (("ID", "what a hypothesis (H3) or a run (R7) rests on"), _why),
    "sql": (("[SELECT …]", "read the ledger; without a query: its tables"), _sql),
    "undo": (("", "forget your last words (what was recorded stays)"), _undo),
    "fork": (("[TURN]", "go on in a copy of this session"), _fork),
    "export": (("[FOLDER]", "write transcript, report and figures"), _export),
    "planner": (("[NAME]", "who plans; /model is the same"), _planner),
    "model": (("[NAME]", "as /planner"), _planner),
    "help": (("", "this list"), _help),
    "quit": (("", "leave; agentkit chat -c comes back"), _quit),
}
