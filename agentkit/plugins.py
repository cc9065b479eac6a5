"""Discovery that isolates a broken plugin: one scan, one plugin at a time, every fault kept and named."""

from __future__ import annotations

import importlib
import logging
import os
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from agentkit import hookspecs
from agentkit.errors import ParamError, PluginError, TargetError, unknown
from agentkit.tools import TargetLoader, Tool, split_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

GROUP = "agentkit"
OWN_DISTRIBUTION = "agentkit-perturb"
REGISTRATION_HOOKS = (
    "agentkit_register_tools",
    "agentkit_register_targets",
    "agentkit_register_planners",
    "agentkit_register_commands",
)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadError:
    """Why a plugin is not there: its name, the distribution it came from, and what went wrong."""

    name: str
    distribution: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution}): {self.reason}"


@dataclass(frozen=True)
class Command:
    """A subcommand that a plugin adds to the command line; `path` is imported when it is called."""

    name: str
    path: str
    help: str = ""


@dataclass(frozen=True)
class Plugin:
    """One loaded plugin and what it registered."""

    name: str
    distribution: str
    version: str
    module: Any = field(repr=False)
    tools: tuple[Tool, ...] = ()
    targets: tuple[TargetLoader, ...] = ()
    planners: tuple[tuple[str, Callable[[str], Any]], ...] = ()
    commands: tuple[Command, ...] = ()


class Plugins:
    """What is installed: tools, targets, planners and commands by name, and the plugins that failed."""

    def __init__(self, plugins: Sequence[Plugin], errors: Sequence[LoadError], manager: Any) -> None:
        self.plugins = tuple(plugins)
        self.errors = tuple(errors)
        self._manager = manager
        self.tools = {t.name: t for p in plugins for t in p.tools}
        self.targets = {t.scheme: t for p in plugins for t in p.targets}
        self.planners = {name: make for p in plugins for name, make in p.planners}
        self.commands = {c.name: c for p in plugins for c in p.commands}
        self._owner = {t.name: p for p in plugins for t in p.tools}

    def with_gpus(self, share: float | None) -> Plugins:
        """The same, where every tool that can use a GPU asks for `share` of one (or more, where it asked for more)."""
        if share is None:
            return self
        plugins = [replace(p, tools=tuple(t.on_gpus(share) for t in p.tools)) for p in self.plugins]
        return Plugins(plugins, self.errors, self._manager)

    def tool(self, name: str) -> Tool:
        """The tool of that name, or `ParamError` with near names."""
        if name not in self.tools:
            raise ParamError(unknown("tool", name, self.tools, hint="List them with: agentkit tools list"))
        return self.tools[name]

    def owner(self, tool: str) -> Plugin:
        """The plugin a tool came from."""
        self.tool(tool)
        return self._owner[tool]

    def loader(self, uri: str) -> tuple[TargetLoader, str]:
        """The loader of a URI and the rest after its colon; raises `TargetError` with near names."""
        scheme, rest = split_uri(uri)
        if scheme not in self.targets:
            raise TargetError(unknown("target scheme", f"{scheme}:", [f"{s}:" for s in self.targets]))
        return self.targets[scheme], rest

    def target_uris(self, params: Any) -> list[str]:
        """Every text in `params` that starts with a registered scheme, sorted, each once."""
        found: set[str] = set()

        def walk(value: Any) -> None:
            if isinstance(value, str):
                scheme, colon, _ = value.partition(":")
                if colon and scheme in self.targets:
                    found.add(value)
            elif isinstance(value, dict):
                for item in value.values():
                    walk(item)
            elif isinstance(value, list | tuple):
                for item in value:
                    walk(item)

        walk(params)
        return sorted(found)

    def fingerprints(self, uris: Iterable[str]) -> dict[str, str]:
        """What each URI would load, without loading it."""
        result = {}
        for uri in uris:
            loader, rest = self.loader(uri)
            result[uri] = loader.fingerprint(rest)
        return result

    def after_run(self, run: dict[str, Any], measurements: Any) -> None:
        """Tell every observer; one that raises is logged and the rest are still told."""
        for plugin in self.plugins:
            if not hasattr(plugin.module, "agentkit_after_run"):
                continue
            try:
                _hook_of(self._manager, "agentkit_after_run", plugin.module)(
                    run=run, measurements=measurements
                )
            except Exception as error:
                logger.warning("agentkit_after_run of %s failed: %s", plugin.name, error)


@cache
def installed_plugins() -> Plugins:
    """The plugins of this environment, scanned once per process."""
    return load_plugins()


@cache
def installed_commands() -> dict[str, Command]:
    """The commands that plugins add, by name; their tools are not imported for it, so `--help` stays quick."""
    return load_plugins(hooks=("agentkit_register_commands",)).commands


def load_plugins(
    *,
    modules: Sequence[str] = (),
    allow: Iterable[str] | None = None,
    deny: Iterable[str] = (),
    hooks: Collection[str] = REGISTRATION_HOOKS,
) -> Plugins:
    """Load every installed plugin, and the named modules as plugins of their own.

    Args:
        modules: import paths of modules that implement hooks (a script's own tools).
        allow: names to load; all when None. Applied before import: others are never imported.
        deny: names never to import.
        hooks: the registration hooks to call; all unless said.

    Raises:
        PluginError: only when AGENTKIT_STRICT=1 and some plugin failed; otherwise see `Plugins.errors`.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    loaded: list[Plugin] = []
    errors: list[LoadError] = []
    denied = set(deny) | set(filter(None, os.environ.get("AGENTKIT_DENY_PLUGINS", "").split(",")))
    allowed = None if allow is None else set(allow)
    for source in [*_from_entry_points(), *_from_modules(modules)]:
        if source.name in denied or (allowed is not None and source.name not in allowed):
            continue
        try:
            loaded.append(_load_one(manager, source, loaded, hooks))
        except (Exception, SystemExit) as error:
            errors.append(LoadError(source.name, source.distribution, _reason(error)))
    if errors and os.environ.get("AGENTKIT_STRICT") == "1":
        raise PluginError("; ".join(str(e) for e in errors))
    return Plugins(loaded, errors, manager)


@dataclass(frozen=True)
class _Source:
    """Where a plugin comes from, before it is imported."""

    name: str
    distribution: str
    version: str
    load: Callable[[], Any]


def _from_entry_points() -> list[_Source]:
    def key(ep: EntryPoint) -> tuple[bool, str, str]:
        distribution = ep.dist.name if ep.dist else ""
        return distribution != OWN_DISTRIBUTION, distribution, ep.name

    return [
        _Source(ep.name, ep.dist.name if ep.dist else "?", ep.dist.version if ep.dist else "?", ep.load)
        for ep in sorted(entry_points(group=GROUP), key=key)
    ]


def _from_modules(modules: Sequence[str]) -> list[_Source]:
    return [_Source(m, "local module", "0", partial(importlib.import_module, m)) for m in modules]


def _load_one(manager: Any, source: _Source, others: Sequence[Plugin], hooks: Collection[str]) -> Plugin:
    module = source.load()
    manager.register(module, name=source.name)
    try:
        for caller in manager.get_hookcallers(module) or ():
            if not caller.has_spec():
                known = [h for h in vars(hookspecs) if h.startswith("agentkit_")]
                raise PluginError(unknown("hook", caller.name, known))
        return _registered(manager, source, module, others, hooks)
    except BaseException:
        manager.unregister(module)
        raise


def _registered(
    manager: Any, source: _Source, module: Any, others: Sequence[Plugin], hooks: Collection[str]
) -> Plugin:
    """What one plugin registers, into a private list: nothing of it shows unless all of it is good."""
    tools: list[Tool] = []
    targets: list[TargetLoader] = []
    planners: list[tuple[str, Callable[[str], Any]]] = []
    commands: list[Command] = []

    def register_tool(tool: Tool) -> None:
        if not isinstance(tool, Tool):
            raise PluginError(f"{tool!r} is not a tool; decorate the function with @agentkit.tool(…)")
        tools.append(tool)

    def register_target(target: TargetLoader) -> None:
        if not isinstance(target, TargetLoader):
            raise PluginError(f"{target!r} is not a target loader; decorate it with @agentkit.target(…)")
        targets.append(target)

    def register_planner(prefix: str, factory: Callable[[str], Any]) -> None:
        planners.append((prefix, factory))

    def register_command(name: str, path: str, help: str = "") -> None:
        commands.append(Command(name, path, help))

    for hook, register in {
        "agentkit_register_tools": register_tool,
        "agentkit_register_targets": register_target,
        "agentkit_register_planners": register_planner,
        "agentkit_register_commands": register_command,
    }.items():
        if hook in hooks and hasattr(module, hook):
            _hook_of(manager, hook, module)(register=register)
    plugin = Plugin(
        name=source.name,
        distribution=source.distribution,
        version=source.version,
        module=module,
        tools=tuple(tools),
        targets=tuple(targets),
        planners=tuple(planners),
        commands=tuple(commands),
    )
    _refuse_taken_names(plugin, others)
    return plugin


def _hook_of(manager: Any, hook: str, module: Any) -> Any:
    """The caller of one hook for one plugin alone (the stock caller stops at the first that raises)."""
    others = [p for p in manager.get_plugins() if p is not module]
    return manager.subset_hook_caller(hook, remove_plugins=others)


def _names(plugin: Plugin) -> list[tuple[str, str]]:
    return [
        *(("tool", t.name) for t in plugin.tools),
        *(("target scheme", t.scheme) for t in plugin.targets),
        *(("planner", name) for name, _ in plugin.planners),
        *(("command", c.name) for c in plugin.commands),
    ]


def _refuse_taken_names(plugin: Plugin, others: Sequence[Plugin]) -> None:
    taken = {item: other for other in others for item in _names(other)}
    mine = _names(plugin)
    for i, (kind, name) in enumerate(mine):
        if other := taken.get((kind, name)):
            raise PluginError(
                f"{kind} {name!r} is taken by plugin {other.name!r} of {other.distribution}; choose another name"
            )
        if (kind, name) in mine[:i]:
            raise PluginError(f"{kind} {name!r} is registered twice")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().rstrip(":")
