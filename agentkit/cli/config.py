"""Options that are said once: in the environment, in `agentkit.toml`, in pyproject, or in the user's own file.

A flag comes before an environment variable, that before `./agentkit.toml`, that before `[tool.agentkit]` of
`./pyproject.toml`, that before the user's `config.toml`. Keys are the words of a study file. Keys and passwords of
services are no options: they are read from the environment by whoever needs them, and never from a file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentkit.cli.output import emit, table
from agentkit.errors import ConfigError, near_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentkit.study import Study

app = typer.Typer(no_args_is_help=True, help="Show the options that are set, and where.")
PROJECT_FILE, PYPROJECT, USER_FILE = "agentkit.toml", "pyproject.toml", "config.toml"
LOOKS_SECRET = re.compile(r"secret|passw|api.?key|credential", re.IGNORECASE)
NAMES = {str: "a text", float: "a number from 0 on", int: "a whole number from 0 on", list: "a list of texts"}


@dataclass(frozen=True)
class Key:
    """One option: its key in a file, its variable (which the command's own option declares), its kind, its usual value."""

    name: str
    env: str
    kind: type
    usual: str


KEYS = (
    Key("store", "AGENTKIT_STORE", str, "agentkit.db"),
    Key("campaign", "AGENTKIT_CAMPAIGN", str, "default"),
    Key("planner", "AGENTKIT_PLANNER", str, "auto"),
    Key("approve", "AGENTKIT_APPROVE", str, "ask in chat, auto in ask"),
    Key("workers", "AGENTKIT_WORKERS", str, "local"),
    Key("modules", "AGENTKIT_MODULES", list, "none"),
    Key("budget.usd", "AGENTKIT_BUDGET_USD", float, "no cap"),
    Key("budget.tokens", "AGENTKIT_MAX_TOKENS", int, "no cap"),
    Key("budget.runs", "AGENTKIT_MAX_RUNS", int, "no cap"),
    Key("budget.seconds", "AGENTKIT_MAX_SECONDS", float, "no cap"),
    Key("budget.gpu_seconds", "AGENTKIT_MAX_GPU_SECONDS", float, "no cap"),
)
BY_NAME = {key.name: key for key in KEYS}
BY_ENV = {key.env: key for key in KEYS}


@dataclass(frozen=True)
class Setting:
    """A value and where it was said: `environment AGENTKIT_STORE`, a file, or `built in`."""

    value: Any
    origin: str


def from_files() -> dict[str, Setting]:
    """What the files say, by key; the first file that has a key is heard.

    Raises:
        ConfigError: a file that is not TOML (with its line), an unknown key (with near names), a wrong value.
    """
    found: dict[str, Setting] = {}
    for path, table_name in _files():
        for name, value in _read(path, table_name).items():
            found.setdefault(name, Setting(value, str(path)))
    return found


def in_force() -> dict[str, Setting]:
    """Every key as a command without flags would have it."""
    said = from_files()
    found = {}
    for key in KEYS:
        if os.environ.get(key.env):
            found[key.name] = Setting(os.environ[key.env], f"environment {key.env}")
        else:
            found[key.name] = said.get(key.name, Setting(key.usual, "built in"))
    return found


def default_map(command: Any) -> dict[str, Any]:
    """What the files say for the options of one command and its subcommands, in the shape that click takes."""
    said = from_files()

    def of(part: Any) -> dict[str, Any]:
        own = {p.name: said[k.name].value for p in part.params if (k := _key_of(p)) and k.name in said}
        return {**own, **{name: of(sub) for name, sub in getattr(part, "commands", {}).items()}}

    return of(command) if said else {}


def with_unsaid(study: Study) -> Study:
    """A study, with store, workers and budget of this machine where the file leaves them out.

    These alone: they change where and how much is measured, never what is claimed.
    """
    from agentkit.study import BudgetSection
    from agentkit.workers import WorkersConfig

    known = {n: s for n, s in in_force().items() if s.origin != "built in"}
    said = {n: str(known[n].value) for n in ("store", "workers") if n in known}
    changes: dict[str, Any] = {n: v for n, v in said.items() if n not in study.model_fields_set}
    if "workers" in changes:
        WorkersConfig.parse(changes["workers"])
    caps = {n.partition(".")[2]: s.value for n, s in known.items() if n.startswith("budget.")}
    if caps and "budget" not in study.model_fields_set:
        try:
            changes["budget"] = BudgetSection.model_validate(caps)
        except ValueError as error:
            raise ConfigError(f"budget: {' '.join(str(error).split())[:160]}") from None
    return study.model_copy(update=changes)


@app.callback()
def group() -> None:
    """Show the options that are set, and where."""


@app.command()
def show(
    origin: Annotated[bool, typer.Option("--origin", help="Also say where each value was set.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
) -> None:
    """The options as a command without flags would have them."""
    found = {name: Setting(_shown(s.value), s.origin) for name, s in in_force().items()}
    rows = [(n, str(s.value), s.origin) if origin else (n, str(s.value)) for n, s in found.items()]
    header = ("option", "value", "set in") if origin else ("option", "value")
    data = {n: {"value": s.value, "origin": s.origin} if origin else s.value for n, s in found.items()}
    emit(data, table(rows, header), as_json=as_json)


def _shown(value: Any) -> Any:
    """The value, with the password of a database URL hidden."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", value) if isinstance(value, str) else value


def _key_of(parameter: Any) -> Key | None:
    declared = parameter.envvar
    return BY_ENV.get(declared) if isinstance(declared, str) else None


def _files() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Files that may hold options, with the table they stand in, the one that is heard first first."""
    yield Path(PROJECT_FILE), ()
    yield Path(PYPROJECT), ("tool", "agentkit")
    yield Path(typer.get_app_dir("agentkit")) / USER_FILE, ()


def _read(path: Path, table_name: tuple[str, ...]) -> dict[str, Any]:
    """The checked keys of one file; none when it is not there, or says nothing about agentkit."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    if ".".join(table_name) not in text:  # somebody else's pyproject, whatever is in it
        return {}
    import tomllib

    try:
        content: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = re.sub(r" \(at line (\d+), column (\d+)\)$", "", str(error))
        line = re.search(r"at line (\d+)", str(error))
        place = line[1] if line else len(text.splitlines())
        raise ConfigError(f"{path}:{place}: not TOML: {said}") from None
    for name in table_name:
        content = content.get(name, {})
    flat = {
        f"{name}.{inner}" if inner else name: value
        for name, part in content.items()
        for inner, value in (part.items() if isinstance(part, dict) else [("", part)])
    }
    for name, value in flat.items():
        _check(f"{path}:{_line_of(name, text)}", name, value)
    return flat


def _check(place: str, name: str, value: Any) -> None:
    if name not in BY_NAME:
        if LOOKS_SECRET.search(name):
            raise ConfigError(
                f"{place}: {name!r} is no option; keys and passwords come from the environment alone"
            )
        raise ConfigError(f"{place}: no option {name!r}. {near_names(name, BY_NAME)}")
    kind = BY_NAME[name].kind
    fits = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
    if fits and kind is list:
        fits = all(isinstance(item, str) for item in value)
    if fits and kind in (int, float):
        fits = value >= 0
    if not fits:
        raise ConfigError(f"{place}: {name}: {NAMES[kind]} is allowed")


def _line_of(name: str, text: str) -> int:
    """The line on which a key stands; the first where that cannot be told."""
    last = re.escape(name.rpartition(".")[2])
    pattern = re.compile(rf"[\s\[.\"']*(?:[\w.-]*\.)?{last}[\"']?\s*[\]=.]")
    lines = enumerate(text.splitlines(), start=1)
    return next((number for number, line in lines if pattern.match(line)), 1)
