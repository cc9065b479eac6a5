"""`agentkit doctor`: what is here, what is not, and why."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import typer

from agentkit import __version__
from agentkit.cli.config import from_files, in_force
from agentkit.cli.output import emit
from agentkit.errors import AgentkitError
from agentkit.plugins import load_plugins

DISTRIBUTION = "agentkit-perturb"
PACKAGES = ("torch", "numpy", "pydantic", "sqlmodel", "langchain", "anthropic", "transformers", "ray")
RAY = "listens on all interfaces of a node, and whoever reaches its ports can run code there: private networks only"
NOT_FOR_USE = ("all", "dev", "oracles")


def examine(*, as_json: bool) -> None:
    """Print versions, devices, extras, options, the ledger and the plugins; exit 1 when one of the last three is at fault."""
    plugins = load_plugins()
    options, ledger = _options(), _ledger()
    data: dict[str, Any] = {
        "agentkit": __version__,
        "python": platform.python_version(),
        "machine": _machine(),
        "packages": {name: _version(name) for name in PACKAGES},
        "extras": _extras(),
        "options": options,
        "ledger": ledger,
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
    if plugins.errors or options["fault"] or ledger["fault"]:
        raise typer.Exit(1)


def _machine() -> dict[str, Any]:
    from agentkit.cli.workers import here

    return here()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _extras() -> dict[str, list[str]]:
    """Per extra the packages that it lacks here; nothing where agentkit itself is not an installed distribution."""
    try:
        lines = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return {}
    missing: dict[str, list[str]] = {}
    for line in lines:
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        name = re.match(r"[\w.-]+", line)
        if extra and name and extra[1] not in NOT_FOR_USE:
            lacking = missing.setdefault(extra[1], [])
            lacking += [name[0]] if _version(name[0]) == "not installed" else []
    return missing


def _options() -> dict[str, Any]:
    """How many options are set in files, or what is wrong with those."""
    try:
        return {"set": len(from_files()), "fault": ""}
    except AgentkitError as error:
        return {"set": 0, "fault": str(error)}


def _ledger() -> dict[str, Any]:
    """Whether the ledger that commands would use can be opened; one that is not there yet is no fault."""
    from pathlib import Path

    from agentkit.ledger import Ledger
    from agentkit.ledger.places import parse_url

    try:
        store = str(in_force()["store"].value)
        url = parse_url(store)
        shown = url.render_as_string(hide_password=True)
        if url.drivername == "sqlite" and not Path(str(url.database)).exists():
            return {"store": shown, "state": "not there yet; a study or a chat creates it", "fault": ""}
        with Ledger(store, readonly=True) as ledger:
            return {"store": shown, "state": f"opens, {len(ledger.campaigns())} campaigns", "fault": ""}
    except AgentkitError as error:
        return {"store": "", "state": "", "fault": str(error)}


def _text(data: dict[str, Any]) -> str:
    machine = data["machine"]
    devices = ", ".join(machine["devices"]) or "no GPU"
    lines = [
        f"agentkit {data['agentkit']} on Python {data['python']}",
        f"machine  {machine['cpus']} CPUs, {machine['memory'] / 2**30:.1f} GiB, {devices}",
        f"options  {data['options']['fault'] or str(data['options']['set']) + ' set in files'}",
        f"ledger   {data['ledger']['fault'] or data['ledger']['store'] + ': ' + data['ledger']['state']}",
    ]
    lines += ["", "packages", *(f"  {name} {found}" for name, found in data["packages"].items())]
    if data["packages"]["ray"] != "not installed":
        lines.append(f"    ray {RAY}")
    if data["extras"]:
        lines += ["", "extras"]
        lines += [f"  {n}: {_lacking(n, lacks)}" for n, lacks in data["extras"].items()]
    lines += ["", "plugins"]
    lines += [
        f"  {p['name']} ({p['distribution']} {p['version']}): {', '.join(p['tools']) or 'no tools'}"
        for p in data["plugins"]
    ]
    if data["not_loaded"]:
        lines += ["", "not loaded"]
        lines += [f"  {e['name']} ({e['distribution']}): {e['reason']}" for e in data["not_loaded"]]
    return "\n".join(lines)


def _lacking(extra: str, packages: list[str]) -> str:
    if not packages:
        return "here"
    return f"lacks {', '.join(packages)}; pip install '{DISTRIBUTION}[{extra}]'"
