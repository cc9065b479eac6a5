"""`agentkit tools list` and `agentkit tools show`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from agentkit.cli.output import emit, say, table
from agentkit.plugins import installed_plugins

if TYPE_CHECKING:
    from agentkit.plugins import Plugins
    from agentkit.tools import Tool


def list_tools(*, as_json: bool) -> None:
    """Every tool with its plugin, metrics and first line."""
    plugins = installed_plugins()
    rows = [_row(plugins, plugins.tool(name)) for name in sorted(plugins.tools)]
    text = table(
        [(r["tool"], r["plugin"], ", ".join(r["metrics"]), r["summary"]) for r in rows],
        ("tool", "plugin", "metrics", "what it does"),
    )
    emit(rows, text, as_json=as_json)
    warn_of_broken(plugins)


def show_tool(name: str, *, as_json: bool) -> None:
    """Everything a user must know to call one tool."""
    plugins = installed_plugins()
    tool = plugins.tool(name)
    data = {**_row(plugins, tool), "description": tool.description, "params": tool.schema()}
    emit(data, _page(tool, data), as_json=as_json)


def warn_of_broken(plugins: Plugins) -> None:
    """One line on stderr when some plugin is not there."""
    if plugins.errors:
        names = ", ".join(e.name for e in plugins.errors)
        say(f"not loaded: {names} (see: agentkit doctor)")


def _row(plugins: Plugins, tool: Tool) -> dict[str, Any]:
    owner = plugins.owner(tool.name)
    return {
        "tool": tool.name,
        "version": tool.version,
        "plugin": owner.name,
        "distribution": owner.distribution,
        "distribution_version": owner.version,
        "metrics": [str(m) for m in tool.metrics],
        "resources": tool.resources.model_dump(),
        "explore_only": tool.explore_only,
        "summary": tool.summary,
    }


def _page(tool: Tool, data: dict[str, Any]) -> str:
    lines = [f"{tool.name} (version {tool.version}, plugin {data['plugin']} of {data['distribution']})", ""]
    lines += [tool.description, "", "params"]
    lines += [f"  {line}" for line in _params(tool)]
    lines += ["", "metrics", *(f"  {m}" for m in data["metrics"])]
    needs = tool.resources
    lines += ["", f"needs {needs.cpus} cpu, {needs.gpus:g} gpu, {needs.memory / 2**30:g} GiB a job"]
    return "\n".join(lines)


def _params(tool: Tool) -> list[str]:
    lines = []
    for name, field in tool.params_model.model_fields.items():
        default = (
            "required" if field.is_required() else f"default {field.get_default(call_default_factory=True)!r}"
        )
        kind = getattr(field.annotation, "__name__", None) if not _generic(field.annotation) else None
        bounds = " ".join(repr(m) for m in field.metadata)
        lines.append(
            f"{name}: {kind or field.annotation} {bounds} ({default}) {field.description or ''}".rstrip()
        )
    return lines


def _generic(annotation: Any) -> bool:
    return not inspect.isclass(annotation) or bool(getattr(annotation, "__args__", ()))
