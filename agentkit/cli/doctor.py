"""`agentkit doctor`: what is here, what is not, and why."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from agentkit import __version__
from agentkit.cli.output import emit
from agentkit.plugins import load_plugins

PACKAGES = ("torch", "numpy", "pydantic", "sqlmodel", "langchain", "anthropic", "transformers", "ray")


def examine(*, as_json: bool) -> None:
    """Print versions, plugins and load errors; exit 1 when a plugin could not be loaded."""
    plugins = load_plugins()
    data: dict[str, Any] = {
        "agentkit": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "plugins": [
            {
                "name": p.name,
                "distribution": p.distribution,
                "version": p.version,
                "tools": [t.name for t in p.tools],
            }
            for p in plugins.plugins
        ],
        "not_loaded": [
            {"name": e.name, "distribution": e.distribution, "reason": e.reason} for e in plugins.errors
        ],
    }
    emit(data, _text(data), as_json=as_json)
    if plugins.errors:
        raise typer.Exit(1)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _text(data: dict[str, Any]) -> str:
    lines = [f"agentkit {data['agentkit']} on Python {data['python']}", "", "packages"]
    lines += [f"  {name} {found}" for name, found in data["packages"].items()]
    lines += ["", "plugins"]
    lines += [
        f"  {p['name']} ({p['distribution']} {p['version']}): {', '.join(p['tools']) or 'no tools'}"
        for p in data["plugins"]
    ]
    if data["not_loaded"]:
        lines += ["", "not loaded"]
        lines += [f"  {e['name']} ({e['distribution']}): {e['reason']}" for e in data["not_loaded"]]
    return "\n".join(lines)
