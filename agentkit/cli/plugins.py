"""`agentkit plugins list|new|check`: what is installed, a package to start from, and the contract on a plugin's tools."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentkit.cli.output import emit, say, table
from agentkit.errors import ConfigError, MissingExtraError, PluginError, unknown
from agentkit.plugins import installed_plugins, load_plugins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit.plugins import Plugin, Plugins
    from agentkit.tools import Tool

app = typer.Typer(no_args_is_help=True, help="List plugins, start a new one, check one against the contract.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Every plugin with what it brings, and those that could not be loaded."""
    plugins = installed_plugins()
    data = [
        {
            "plugin": p.name,
            "distribution": p.distribution,
            "version": p.version,
            "tools": [t.name for t in p.tools],
            "targets": [f"{t.scheme}:" for t in p.targets],
            "planners": [name for name, _ in p.planners],
            "commands": [c.name for c in p.commands],
        }
        for p in plugins.plugins
    ]
    rows = [
        (p.name, f"{p.distribution} {p.version}", _brings(d))
        for p, d in zip(plugins.plugins, data, strict=True)
    ]
    broken = [{"plugin": e.name, "distribution": e.distribution, "reason": e.reason} for e in plugins.errors]
    text = table(rows, ("plugin", "distribution", "brings"))
    emit({"plugins": data, "not_loaded": broken}, text, as_json=as_json)
    for error in plugins.errors:
        say(f"not loaded: {error}")


def _brings(row: Mapping[str, Any]) -> str:
    kinds = ("tools", "targets", "planners", "commands")
    return (
        "; ".join(f"{len(row[k])} {k if len(row[k]) > 1 else k[:-1]}" for k in kinds if row[k]) or "nothing"
    )


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Its short name: lower-case letters, digits and _.")],
    folder: Annotated[Path | None, typer.Option(help="Where to write; ./agentkit-NAME unless said.")] = None,
    as_json: Json = False,
) -> None:
    """Write a package with one tool that passes the contract, its test and its two lines of pyproject."""
    from agentkit.cli.scaffold import files

    if not NAME.fullmatch(name):
        raise ConfigError(
            f"plugin name {name!r}: lower-case letters, digits and _ only, beginning with a letter"
        )
    target = Path(f"agentkit-{name.replace('_', '-')}") if folder is None else folder
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there and not empty; nothing was written. Give another --folder")
    target.mkdir(parents=True, exist_ok=True)
    written = files(name)
    for file, text in written.items():
        (target / file).write_text(text, encoding="utf-8")
    text = "\n".join(
        [*(f"wrote  {target / file}" for file in written), "", "next", f"  pip install -e {target}",
         f"  agentkit plugins check {name}", f"  agentkit tools run {name}.shift -p by=0.2"]
    )  # fmt: skip
    emit({"folder": str(target), "files": sorted(written)}, text, as_json=as_json)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="An installed plugin, or the import path of a module.")],
    tool: Annotated[str | None, typer.Option(help="Only this tool.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="key=value for that tool, as often as needed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the contract on a plugin's tools: same unit, same numbers, in any split; ranges; unknown params. Exit 1 on failure."""
    from agentkit.cli.pairs import pair

    plugin = _plugin(name)
    tools = {t.name: t for t in plugin.tools}
    if tool is not None and tool not in tools:
        raise ConfigError(unknown(f"tool of plugin {plugin.name}", tool, tools))
    if param and len(tools) > 1 and tool is None:
        raise ConfigError(
            f"-p needs --tool: {plugin.name} has {len(tools)} tools ({', '.join(sorted(tools))})"
        )
    chosen = [tools[tool]] if tool is not None else list(plugin.tools)
    results = [row for t in chosen for row in _checked(t, dict(pair(p) for p in param or ()))]
    failed = [r for r in results if r["result"] == "failed"]
    rows = [(r["tool"], r["result"], r["rule"], r["reason"]) for r in results]
    text = f"{table(rows, ('tool', 'result', 'rule', 'reason'))}\n{len(results)} checks, {len(failed)} failed"
    emit({"plugin": plugin.name, "checks": results, "failed": len(failed)}, text, as_json=as_json)
    if failed:
        raise typer.Exit(1)


def _plugin(name: str) -> Plugin:
    """The installed plugin of that name, or the module as a plugin of its own."""
    found = _named(installed_plugins(), name)
    if found is None and re.fullmatch(r"[\w.]+", name):
        local = load_plugins(modules=[name], allow=[name])
        found = _named(local, name)
        for error in local.errors:
            if error.name == name and "No module named" not in error.reason:
                raise PluginError(f"{name} cannot be loaded: {error.reason}")
    if found is None:
        known = [p.name for p in installed_plugins().plugins]
        raise PluginError(unknown("plugin or module", name, known))
    if not found.tools:
        raise PluginError(f"plugin {name!r} brings no tools: there is nothing to check")
    return found


def _named(plugins: Plugins, name: str) -> Plugin | None:
    return next((p for p in plugins.plugins if p.name == name), None)


def _checked(tool: Tool, params: Mapping[str, Any]) -> list[dict[str, str]]:
    try:
        from agentkit.testing import contract_results
    except ModuleNotFoundError as error:
        if error.name != "pytest":
            raise
        raise MissingExtraError("the contract kit needs pytest: pip install pytest") from None
    return [{"tool": tool.name, **row} for row in contract_results(tool, params)]
