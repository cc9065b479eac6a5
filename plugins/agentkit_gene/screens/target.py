"""The target schemes `screen:` (a finished, simulated or coming screen) and `features:` (what is known about genes).

Targets are light: they name what stands behind the URI, and open it when a tool asks.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from agentkit import target
from agentkit.errors import TargetError, TargetUnavailableError, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit import Unit
    from agentkit_gene.loop.features import Knowledge
    from agentkit_gene.loop.screen import Answers, Library, Screen
    from agentkit_gene.loop.sources import Source

SIMULATED = "sim"
FOUND = "found"
"""`features:found`: the shared data, or the data files of installed packages."""

EACH_UNIT = "unit"
"""`seed=unit`: every unit draws a network of its own, so a claim over units speaks about networks."""

TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz", ".parquet")
_RANGES: dict[str, tuple[float, float]] = {"genes": (200, 20_000), "noise": (0, 5), "prior": (0, 1)}
_DEFAULTS: dict[str, Any] = {"genes": 2000, "seed": 7, "noise": 0.3, "prior": 0.6}


@dataclass(frozen=True)
class ScreenTarget:
    """A screen behind a URI: a file, a shared screen, or a simulated one.

    Attributes:
        rest: what follows `screen:`.
        content: the fingerprint.
    """

    rest: str
    content: str

    @property
    def simulated(self) -> bool:
        """Whether it is simulated, so that its prior knowledge comes with it."""
        return _split(self.rest)[0] == SIMULATED

    @property
    def each_unit(self) -> bool:
        """Whether every unit is a network of its own."""
        return self.simulated and simulation_values(self.rest)["seed"] == EACH_UNIT

    def screen(self, unit: Unit) -> Screen:
        """The finished screen as one unit sees it.

        Raises:
            TargetError: a file without scores, or damaged.
        """
        from agentkit_gene.screens import opened

        return opened.screen(self, unit)

    def library(self) -> Library:
        """The genes that may be tested; a score column, if any, is not read but for negative controls."""
        from agentkit_gene.screens import opened

        return opened.library(self)

    def answers(self) -> Answers:
        """Results in the file: gene, score and optionally hit."""
        from agentkit_gene.screens import opened

        return opened.answers(self)

    def knowledge(
        self, library: Library, unit: Unit | None, files: Sequence[FeatureFiles], *, allow_low: bool
    ) -> Knowledge:
        """What is known about the library's genes: the simulated knowledge, or what the files hold."""
        from agentkit_gene.screens import opened

        return opened.knowledge(self, library, unit, files, allow_low=allow_low)

    def describe(self) -> str:
        """At most 2 kB for a planner: size, task, direction, hits where they are known."""
        from agentkit_gene.screens import opened

        return opened.describe(self)


@dataclass(frozen=True)
class FeatureFiles:
    """Prior knowledge behind a `features:` URI, read when asked."""

    rest: str
    content: str

    def sources(self) -> list[Source]:
        """What the files hold; raises `NoFeaturesError` when nothing is found."""
        from agentkit_gene.screens import opened

        return opened.sources(self)


def _split(rest: str) -> tuple[str, dict[str, str]]:
    name, _, query = rest.partition("?")
    try:
        return name, dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise TargetError(f"screen:{rest}: write options as name=value, joined by &") from None


def simulation_values(rest: str) -> dict[str, Any]:
    """Options of `screen:sim?…`, checked: genes, seed (a number, or `unit`), noise, prior.

    Raises:
        TargetError: an unknown option, or a value out of its range.
    """
    _, options = _split(rest)
    values = dict(_DEFAULTS)
    for key, text in options.items():
        if key not in values:
            raise TargetError(f"screen:{rest}: {unknown('option', key, values)}")
        values[key] = text if key == "seed" and text == EACH_UNIT else _number(rest, key, text)
    return values


def _number(rest: str, key: str, text: str) -> float | int:
    low, high = _RANGES.get(key, (0, 2**63 - 1))
    try:
        value = int(text) if key in ("genes", "seed") else float(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        more = f", or {EACH_UNIT} for a network of its own in every unit" if key == "seed" else ""
        raise TargetError(f"screen:{rest}: {key}={text!r} must be a number from {low:g} to {high:g}{more}")
    return value


def table_path(rest: str) -> Path | None:
    """The file that a URI names, or None when it names a shared screen.

    Raises:
        TargetUnavailableError: it looks like a file and is none.
    """
    name, _ = _split(rest)
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if "/" in name or name.lower().endswith(TABLES):
        raise TargetUnavailableError(
            f"screen:{rest}: no file {name!r}; a screen is a table with the columns gene and score (and hit)"
        )
    return None


def file_options(rest: str) -> dict[str, str]:
    """Options of a file: duplicates=mean averages repeats instead of refusing them."""
    _, options = _split(rest)
    for key in options:
        if key != "duplicates":
            raise TargetError(f"screen:{rest}: {unknown('option', key, ['duplicates'])}")
    if options.get("duplicates", "mean") != "mean":
        raise TargetError(f"screen:{rest}: duplicates can only be mean; leave it out to refuse repeats")
    return options


def screen_fingerprint(rest: str) -> str:
    """SHA-256 of what would be loaded: the simulation's options, or the file with what lies beside it."""
    name, _ = _split(rest)
    if name == SIMULATED:
        from agentkit_gene.screens.versions import SIMULATION

        return hashlib.sha256(
            repr((SIMULATION, sorted(simulation_values(rest).items()))).encode()
        ).hexdigest()
    path = table_path(rest)
    options = file_options(rest)
    if path is None:
        from agentkit_gene.loop.screen_files import shared_folder

        folder = shared_folder()
        files = [
            folder / "screens" / f"{name}.csv.gz",
            folder / "tasks.json",
            folder / "core_essential_CEGv2.csv",
        ]
        if not files[0].is_file():
            known = [
                SIMULATED,
                *(p.name.removesuffix(".csv.gz") for p in (folder / "screens").glob("*.csv.gz")),
            ]
            raise TargetUnavailableError(unknown("screen", name, known, hint="Or give the path of a table."))
    else:
        files = [path, path.with_name(path.name.split(".")[0] + ".toml")]
        files += _essential_of(files[1])
    return _hashed([f for f in files if f.is_file()], repr(sorted(options.items())))


def _essential_of(side: Path) -> list[Path]:
    """The list of essential genes that a side file names."""
    import tomllib

    try:
        named = tomllib.loads(side.read_text(encoding="utf-8")).get("essential") if side.is_file() else None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):  # reading it will say what is wrong
        named = None
    return [side.parent / str(named)] if named else []


def features_fingerprint(rest: str) -> str:
    """SHA-256 of the file, or of every file that would be found."""
    if rest != FOUND:
        path = Path(rest).expanduser()
        if not path.is_file():
            path = Path(rest.partition("=")[2]).expanduser()
        if not path.is_file():
            raise TargetUnavailableError(
                f"features:{rest}: no such file; give a .gmt, .sif or .csv (also .gz), or block=PATH"
            )
        return _hashed([path], rest.partition("=")[0] if "=" in rest else "")
    return _hashed(found_files(), FOUND)


def found_files() -> list[Path]:
    """The files that `features:found` reads: the shared folder's, else those of installed packages, else none."""
    from agentkit_gene.loop.discovery import PACKAGE_FILES, locate
    from agentkit_gene.loop.screen_files import shared_folder

    try:
        shared = sorted(p for p in (shared_folder() / "features").glob("*") if p.is_file())
    except TargetUnavailableError:
        shared = []
    return shared or [path for item in PACKAGE_FILES if (path := locate(item)) is not None]


def _hashed(files: Sequence[Path], more: str) -> str:
    digest = hashlib.sha256(more.encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@target("screen", fingerprint=screen_fingerprint)
def screen(rest: str, device: str) -> ScreenTarget:
    """Screens of genes: screen:sim?genes=2000&seed=7, screen:PATH.csv (gene, score, hit), or a shared one by name."""
    return ScreenTarget(rest, screen_fingerprint(rest))


@target("features", fingerprint=features_fingerprint)
def features(rest: str, device: str) -> FeatureFiles:
    """What is known about genes: features:PATH of a .gmt, .sif or .csv, or features:found for what is installed."""
    return FeatureFiles(rest, features_fingerprint(rest))
