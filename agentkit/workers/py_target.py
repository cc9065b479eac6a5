"""The built-in target scheme `py:module:factory`: whatever a function of an importable module returns."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.errors import TargetError, TargetUnavailableError, near_names
from agentkit.hookspecs import hookimpl
from agentkit.tools import target

if TYPE_CHECKING:
    from collections.abc import Callable


def fingerprint(rest: str) -> str:
    """Hash of the Python files of the factory's top package and of the name itself; nothing is imported.

    Raises:
        TargetUnavailableError: no such module here.
    """
    module, factory = _split(rest)
    digest = hashlib.sha256(f"{module}:{factory}".encode())
    for file in _sources(module.partition(".")[0]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


@target("py", fingerprint=fingerprint)
def py(rest: str, device: str) -> Any:
    """What `factory()` or `factory(device=...)` of an importable module returns: `py:my_package.nets:make`."""
    module_name, factory_name = _split(rest)
    module = importlib.import_module(module_name)
    factory: Callable[..., Any] | None = getattr(module, factory_name, None)
    if not callable(factory):
        names = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise TargetUnavailableError(
            f"py:{rest}: {module_name} has no function {factory_name!r}. {near_names(factory_name, names)}"
        )
    return factory(device=device) if "device" in inspect.signature(factory).parameters else factory()


def _split(rest: str) -> tuple[str, str]:
    module, colon, factory = rest.partition(":")
    if not colon or not factory.isidentifier() or not all(p.isidentifier() for p in module.split(".")):
        raise TargetError(f"py:{rest} is not a target; write py:module:factory, for example py:my_nets:make")
    return module, factory


def _sources(top: str) -> list[Path]:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise TargetUnavailableError(
            f"py:{top}…: no module {top!r} is importable here; install it, or run from its folder"
        )
    origin = Path(spec.origin)
    if not spec.submodule_search_locations:
        return [origin]
    return sorted(origin.parent.rglob("*.py"))


@hookimpl
def agentkit_register_targets(register: Callable[..., None]) -> None:
    """The scheme `py:`."""
    register(py)
