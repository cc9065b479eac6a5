"""`agentkit`: entry point, the group of commands (built-in and from plugins), and how errors leave it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from agentkit import __version__
from agentkit.cli import config, db, mcp, plugins, rows, talk
from agentkit.errors import AgentkitError


class Commands(TyperGroup):
    """Built-in commands first, then what plugins add; a plugin's command is imported when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the help page."""
        return [*super().list_commands(ctx), *sorted(_plugin_commands())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by name; unknown names get near names."""
        if (command := super().get_command(ctx, cmd_name)) is not None:
            return command
        if (added := _plugin_commands().get(cmd_name)) is not None:
            return _loaded(added)
        return None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Perturbation experiments: frozen hypotheses, fresh seeds, verdicts computed by code.",
)
tools_app = typer.Typer(no_args_is_help=True, help="List and show the tools that plugins bring.")
app.add_typer(tools_app, name="tools")
app.add_typer(mcp.app, name="mcp")
app.add_typer(plugins.app, name="plugins")
app.add_typer(config.app, name="config")
app.add_typer(db.app, name="db")
for _kind in rows.KINDS:
    app.add_typer(rows.group(_kind), name=_kind)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
StoreArgument = Annotated[
    str, typer.Argument(help="The ledger: a path or a database URL.", envvar="AGENTKIT_STORE")
]
DEFAULT_STORE = "agentkit.db"
INTERRUPTED = 130
NEED_NO_OPTIONS = {"doctor", "--help"}
"""These work, and say what is wrong, also beside a broken `agentkit.toml`."""


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Perturbation experiments: frozen hypotheses, fresh seeds, verdicts computed by code."""
    if version:
        print(f"agentkit {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand and not NEED_NO_OPTIONS & {ctx.invoked_subcommand, *sys.argv}:
        name = ctx.invoked_subcommand
        ctx.default_map = {name: config.default_map(ctx.command.get_command(ctx, name))}  # type: ignore[attr-defined]


app.command()(talk.chat)
app.command()(talk.ask)
app.command()(talk.resume)
app.command()(talk.fork)


@app.command()
def run(
    study: Annotated[str, typer.Argument(help="A study file (YAML), or - for stdin.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a study that was interrupted.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again what the ledger would answer, and compare.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print runs, units, seconds and what is known; start nothing.")
    ] = False,
    require: Annotated[
        str | None, typer.Option(help="supported or decided: exit 6 unless every verdict is.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="Ledger path or URL; overrides the file.")] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            help="inline, local:2, ray:HOST:PORT; more: local:2,gpus_per_job=1. Overrides the file."
        ),
    ] = None,
    report: Annotated[str | None, typer.Option(help="Folder for the report; overrides the file.")] = None,
    takeover: Annotated[
        bool, typer.Option("--takeover", help="Take the campaign from a driver that holds it and hangs.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run a study file: explore, register, confirm on fresh units, and print the verdicts."""
    from agentkit.cli.run import run_study

    run_study(
        study,
        resume=resume,
        fresh=fresh,
        dry_run=dry_run,
        require=require,
        store=store,
        workers=workers,
        report=report,
        takeover=takeover,
        as_json=as_json,
    )


@tools_app.command("list")
def tools_list(as_json: JsonFlag = False) -> None:
    """Every tool of every plugin, with its metrics."""
    from agentkit.cli.tools import list_tools

    list_tools(as_json=as_json)


@tools_app.command("show")
def tools_show(
    name: Annotated[str, typer.Argument(help="A tool's name.")], as_json: JsonFlag = False
) -> None:
    """One tool: what it does, its params with ranges, its metrics, what it needs."""
    from agentkit.cli.tools import show_tool

    show_tool(name, as_json=as_json)


@tools_app.command("run")
def tools_run(
    name: Annotated[str, typer.Argument(help="A tool's name.")],
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="key=value, as often as needed.")
    ] = None,
    units: Annotated[int, typer.Option(min=1, max=256, help="Paired replicates.")] = 8,
    store: Annotated[str, typer.Option(help="Ledger path or URL.", envvar="AGENTKIT_STORE")] = DEFAULT_STORE,
    campaign: Annotated[
        str, typer.Option(help="Where it is recorded.", envvar="AGENTKIT_CAMPAIGN")
    ] = "default",
    workers: talk.Workers = "local",
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what is known, and compare.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Explore with one tool, without a planner: mean differences to baseline, recorded, never evidence."""
    from agentkit.cli.explore import explore_tool
    from agentkit.cli.pairs import pair

    explore_tool(
        name,
        [pair(p) for p in param or ()],
        units=units,
        store=store,
        campaign=campaign,
        workers=workers,
        fresh=fresh,
        as_json=as_json,
    )


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="A session, or the beginning of its id.")],
    b: Annotated[str, typer.Argument(help="Another session.")],
    store: Annotated[str, typer.Option(help="Ledger path or URL.", envvar="AGENTKIT_STORE")] = DEFAULT_STORE,
    other_store: Annotated[str | None, typer.Option(help="The ledger of B, if it is another.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Two recorded conversations turn by turn: words, calls, answers, verdicts. Exit 1 when they differ."""
    from agentkit.cli.diff import diff_sessions

    if not diff_sessions(store, a, b, other_store=other_store, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def log(store: StoreArgument = DEFAULT_STORE, as_json: JsonFlag = False) -> None:
    """What a ledger holds: campaigns, runs, hypotheses and their verdicts, in order."""
    from agentkit.cli.records import show_log

    show_log(store, as_json=as_json)


app.command()(rows.sql)


@app.command()
def verify(
    store: StoreArgument = DEFAULT_STORE,
    anchor: Annotated[
        str | None, typer.Option(help="Heads noted elsewhere: a head, a file of heads, or git.")
    ] = None,
    anchor_to: Annotated[
        str | None, typer.Option(help="Note the heads: a file to append to, or git (notes of this commit).")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check a ledger: rules, chain, seeds, and every verdict recomputed. Exit 1 names the first bad row."""
    from agentkit.cli.records import verify_store

    verify_store(store, anchor=anchor, anchor_to=anchor_to, as_json=as_json)


@app.command()
def report(
    store: StoreArgument = DEFAULT_STORE,
    campaign: Annotated[
        str | None, typer.Option(help="Campaign name, when the ledger holds several.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where to write; beside the ledger unless said.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 and list what is claimed without a verdict that says it.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write report.md and report.html of a campaign, and print its verdict table."""
    from agentkit.cli.records import write_campaign_report

    write_campaign_report(store, campaign=campaign, folder=folder, strict=strict, as_json=as_json)


@app.command()
def replay(
    store: StoreArgument,
    hypothesis: Annotated[str | None, typer.Option(help="A hypothesis, such as H3.")] = None,
    session: Annotated[
        str | None, typer.Option(help="A session (or the beginning of its id), instead of a hypothesis.")
    ] = None,
    units: Annotated[int, typer.Option(min=1, help="How many of the hypothesis's units.")] = 5,
    workers: Annotated[
        str, typer.Option(help="inline, local:2, ray:HOST:PORT; more: local:2,gpus_per_job=1.")
    ] = "inline",
    as_json: JsonFlag = False,
) -> None:
    """Measure units again, or replay a session without a key, and compare. Exit 1 (units) or 5 (session) if it differs."""
    from agentkit.cli.replay import replay as run_replay

    run_replay(store, hypothesis, session, units=units, workers=workers, as_json=as_json)


@app.command()
def export(
    store: StoreArgument,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    as_json: JsonFlag = False,
) -> None:
    """Write a store as an RO-Crate: provenance, tables, Parquet, artifacts, and a copy that verifies."""
    from agentkit.cli.replay import export_store

    export_store(store, folder, as_json=as_json)


@app.command()
def calibrate(
    tool: Annotated[str, typer.Argument(help="A tool's name.")],
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="key=value, as often as needed.")
    ] = None,
    hypotheses: Annotated[int, typer.Option(help="True nulls to test, over 20 campaigns.")] = 200,
    store: Annotated[
        str | None, typer.Option(help="Keep the ledger here; a temporary one unless said.")
    ] = None,
    workers: talk.Workers = "local",
    as_json: JsonFlag = False,
) -> None:
    """Look for something where nothing is: A/A campaigns of a tool through the real ledger. Exit 1 on failure."""
    from agentkit.cli.calibrate import calibrate as run_calibration

    run_calibration(tool, param or [], hypotheses=hypotheses, store=store, workers=workers, as_json=as_json)


@app.command()
def workers(store: StoreArgument = DEFAULT_STORE, as_json: JsonFlag = False) -> None:
    """What runs now on a ledger's workers, where and for how long; also from another terminal."""
    from agentkit.cli.workers import show_workers

    show_workers(store, as_json=as_json)


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Versions, devices, extras, options, the ledger, and why a plugin could not be loaded. Exit 1 on a fault."""
    from agentkit.cli.doctor import examine

    examine(as_json=as_json)


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and its exit code."""
    try:
        code = app(standalone_mode=False, prog_name="agentkit")
        if code == INTERRUPTED:
            raise KeyboardInterrupt
    except AgentkitError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; what was recorded is kept", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own usage errors
            print(f"error: {_usage_error(error)}", file=sys.stderr)
            sys.exit(2)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _usage_error(error: Any) -> str:
    said = str(error.format_message()).rstrip(".")
    command = error.ctx.command_path if getattr(error, "ctx", None) else "agentkit"
    return f"{said}{'' if said.endswith('?') else '.'} See: {command} --help"


def _plugin_commands() -> dict[str, Any]:
    from agentkit.plugins import installed_commands

    return {n: c for n, c in installed_commands().items() if n not in _built_in()}


def _built_in() -> set[str]:
    own = [c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands]
    return {*own, *(g.name for g in app.registered_groups if g.name)}


def _loaded(command: Any) -> Any:
    module, _, attribute = command.path.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    return typer.main.get_command(target) if isinstance(target, typer.Typer) else target


if __name__ == "__main__":
    main()
