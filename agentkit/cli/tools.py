"""`agentkit tools list` and `agentkit tools show`."""

from __future__ import annotations

import json
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
    text, data = page(plugins, plugins.tool(name))
    emit(data, text, as_json=as_json)


def page(plugins: Plugins, tool: Tool) -> tuple[str, dict[str, Any]]:
    """One tool as text and as data."""
    data = {**_row(plugins, tool), "description": tool.description, "params": tool.schema()}
    return _page(tool, data), data


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
        "any_device": tool.any_device,
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
    lines += (
        ["computes on the device it is given (--workers local,gpus_per_job=1)"] if tool.any_device else []
    )
    return "\n".join(lines)


def _params(tool: Tool) -> list[str]:
    schema = tool.schema()
    required = schema.get("required", [])
    lines = []
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required else f"default {json.dumps(field.get('default'))}"
        said = f"  {field['description']}" if "description" in field else ""
        lines.append(f"{name}: {_kind(field, schema.get('$defs', {}))} ({default}){said}")
    return lines


def _kind(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A JSON-schema type as a person reads it: `number 0..1`, `list of typos | swap`, `integer >= 2 or null`."""
    if "$ref" in field:
        return _kind(definitions[field["$ref"].rsplit("/", 1)[-1]], definitions)
    if "anyOf" in field:
        return " or ".join(_kind(option, definitions) for option in field["anyOf"])
    if "enum" in field or "const" in field:
        return " | ".join(str(v) for v in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}), definitions)}"
    return f"{field.get('type', 'value')}{_bounds(field)}"


def _bounds(field: dict[str, Any]) -> str:
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    if low is not None and high is not None:
        return f" {low}..{high}"
    if low is not None:
        return f" {'>=' if 'minimum' in field else '>'} {low}"
    return f" {'<=' if 'maximum' in field else '<'} {high}" if high is not None else ""
