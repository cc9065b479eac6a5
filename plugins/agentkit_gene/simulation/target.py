"""The target scheme `grn:`: shipped networks, the generator, and files."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from agentkit import target
from agentkit.errors import TargetError, TargetUnavailableError, unknown

if TYPE_CHECKING:
    from agentkit_gene.simulation.model import Model
    from agentkit_gene.simulation.network import Network

SHIPPED = Path(__file__).parent / "shipped"
GENERATOR = "scalefree"
_GENERATOR_OPTIONS = {"genes": int, "seed": int, "types": int, "self_loops": float, "cycles": int}
_FILE_OPTIONS = {"regulators", "signs"}


class NetworkTarget:
    """A loaded network, with its models kept warm by layer."""

    def __init__(self, network: Network, fingerprint: str) -> None:
        self.network, self.fingerprint = network, fingerprint
        self._models: dict[str, Model] = {}

    def model(self, layers: str = "mrna") -> Model:
        """The network with every h known and the wild type solved, for one choice of layers."""
        if layers not in self._models:
            from agentkit_gene.simulation.model import build_model

            self._models[layers] = build_model(self.network, layers)
        return self._models[layers]

    def describe(self) -> str:
        """At most 2 kB for a planner: size, signs, cycles, top regulators, faint genes, source."""
        from agentkit_gene.simulation.describe import describe

        return describe(self)


def shipped_names() -> list[str]:
    """Names of the networks in this package."""
    return sorted(p.stem for p in SHIPPED.glob("*.toml"))


def _split(rest: str) -> tuple[str, dict[str, str]]:
    name, _, query = rest.partition("?")
    return name, dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))


def _refuse_options(options: dict[str, str], known: Any, rest: str) -> None:
    for key in options:
        if key not in known:
            raise TargetError(f"grn:{rest}: {unknown('option', key, known)}")


def fingerprint(rest: str) -> str:
    """SHA-256 of what would be loaded: a file's bytes, or the generator's version and options."""
    name, options = _split(rest)
    if name == GENERATOR:
        parts = sorted((k, str(v)) for k, v in _generator_values(rest).items())
        return hashlib.sha256(repr(("scalefree/1", parts)).encode()).hexdigest()
    path, used = _file(name)
    digest = hashlib.sha256(path.read_bytes())
    if "regulators" in options:
        digest.update(path.with_name(options["regulators"]).read_bytes())
    digest.update(repr(sorted(options.items()) if used else []).encode())
    return digest.hexdigest()


def _file(name: str) -> tuple[Path, bool]:
    """(path, whether options apply) of a shipped name or a file."""
    if name in shipped_names():
        return SHIPPED / f"{name}.toml", False
    path = Path(name).expanduser()
    if not name or not path.is_file():
        known = [*shipped_names(), f"{GENERATOR}?genes=100&seed=1"]
        raise TargetUnavailableError(
            unknown("network", name, known, hint="Or give the path of a network file.")
        )
    return path, True


def _generator_values(rest: str) -> dict[str, Any]:
    _, options = _split(rest)
    _refuse_options(options, _GENERATOR_OPTIONS, rest)
    if "genes" not in options:
        raise TargetError(f"grn:{rest}: genes is required, for example grn:scalefree?genes=100&seed=3")
    values: dict[str, Any] = {"seed": 0}
    for key, text in options.items():
        try:
            values[key] = _GENERATOR_OPTIONS[key](text)
        except ValueError:
            raise TargetError(
                f"grn:{rest}: {key}={text!r} is no {_GENERATOR_OPTIONS[key].__name__}"
            ) from None
    return values


def load_network(rest: str) -> Network:
    """The network behind `grn:REST`."""
    name, options = _split(rest)
    if name == GENERATOR:
        from agentkit_gene.simulation.generator import scale_free

        values = _generator_values(rest)
        return scale_free(values.pop("genes"), values.pop("seed"), **values)
    from agentkit_gene.simulation.readers import read_network

    path, used = _file(name)
    _refuse_options(options, _FILE_OPTIONS if used else (), rest)
    return read_network(path, options)


@cache
def _loaded(rest: str, content: str) -> NetworkTarget:
    return NetworkTarget(load_network(rest), content)


@target("grn", fingerprint=fingerprint)
def grn(rest: str, device: str) -> NetworkTarget:
    """Gene networks: grn:toggle, grn:ffl10, grn:scalefree?genes=100&seed=3, or grn:PATH of a network file."""
    return _loaded(rest, fingerprint(rest))
