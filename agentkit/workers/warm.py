"""Loaded targets kept between jobs: least recently used goes first, counted in bytes, guarded against writes."""

from __future__ import annotations

import hashlib
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from agentkit.errors import AgentkitError, TargetChangedError, TargetModifiedError, TargetUnavailableError
from agentkit.workers import devices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agentkit.plugins import Plugins

FULL_HASH_EVERY = 50
"""A write that no version counter shows (through `.data`) is found after at most so many jobs of one tool."""

_WALK_DEPTH = 6
_WALK_LIMIT = 50_000
_LEAVES = (str, bytes, int, float, complex, bool, type(None), type, ModuleType, FunctionType, MethodType)


@dataclass
class WarmTarget:
    """One loaded target and what is known of its numbers."""

    uri: str
    fingerprint: str
    value: Any
    nbytes: int
    numbers: dict[str, Any]
    sha256: str
    versions: tuple[int, ...]
    load_s: float
    dtype: str
    jobs_since_hash: int = 0
    tools_since_hash: list[str] = field(default_factory=list)
    tools_seen: set[str] = field(default_factory=set)


class WarmTargets:
    """The targets of one worker.

    Args:
        plugins: who can load what.
        device: where targets are put.
        cap_bytes: parameters and buffers beyond which the least recently used targets are dropped. One target
            alone may be larger; it then stays alone.
    """

    def __init__(self, plugins: Plugins, device: str, cap_bytes: int) -> None:
        self._plugins = plugins
        self._device = device
        self._cap = cap_bytes
        self._warm: OrderedDict[str, WarmTarget] = OrderedDict()
        self._in_use: set[str] = set()
        self._warnings: list[str] = []
        self.tampered = False

    @property
    def uris(self) -> tuple[str, ...]:
        """What is warm, least recently used first."""
        return tuple(self._warm)

    @property
    def nbytes(self) -> int:
        """Bytes of all warm targets."""
        return sum(t.nbytes for t in self._warm.values())

    def begin_job(self) -> None:
        """From here on nothing that is asked for may be dropped."""
        self._in_use.clear()

    def get(self, uri: str, expected: str | None = None) -> WarmTarget:
        """The target behind `uri`, loaded if need be.

        Args:
            uri: as the job names it.
            expected: the fingerprint that the driver knows; None takes whatever is there.

        Raises:
            TargetChangedError: other bytes stand behind the URI than the driver registered.
            TargetUnavailableError: the loader failed.
        """
        self._in_use.add(uri)
        warm = self._warm.get(uri)
        if warm is not None and expected in (None, warm.fingerprint):
            self._warm.move_to_end(uri)
            return warm
        self._warm.pop(uri, None)
        fingerprint = self._fingerprint(uri)
        if expected is not None and fingerprint != expected:
            raise TargetChangedError(
                f"{uri} is {_short(fingerprint)} here; the job was registered with {_short(expected)}"
            )
        warm = self._load(uri, fingerprint)
        self._warm[uri] = warm
        self._evict()
        return warm

    def verify(self, tool: str) -> None:
        """Raise `TargetModifiedError` if a tool wrote to a target that this job used.

        Version counters show ordinary in-place writes at once. The bytes themselves are hashed after the first
        job of each tool, after every 50th job, and before a target is dropped.
        """
        for uri in sorted(self._in_use & set(self._warm)):
            self._verify_one(self._warm[uri], tool)

    def _verify_one(self, warm: WarmTarget, tool: str) -> None:
        if tool not in warm.tools_since_hash:
            warm.tools_since_hash.append(tool)
        warm.jobs_since_hash += 1
        versions = _versions(warm.numbers)
        new_tool = tool not in warm.tools_seen
        warm.tools_seen.add(tool)
        if versions != warm.versions or new_tool or warm.jobs_since_hash >= FULL_HASH_EVERY:
            self._verify_bytes(warm)
            warm.versions = versions

    def _verify_bytes(self, warm: WarmTarget) -> None:
        now = numbers_of(
            warm.value
        )  # what a tool caches on a target is its own affair: only loaded numbers count
        if _sha256({path: now[path] for path in warm.numbers if path in now}) == warm.sha256:
            warm.jobs_since_hash, warm.tools_since_hash = 0, []
            return
        self._warm.pop(warm.uri, None)
        raise TargetModifiedError(
            f"{warm.uri} was changed by a tool (run since it was last intact: {', '.join(warm.tools_since_hash)}); "
            "perturb through hooks and copies, never write to the target"
        )

    def _fingerprint(self, uri: str) -> str:
        loader, rest = self._plugins.loader(uri)
        try:
            return loader.fingerprint(rest)
        except AgentkitError:
            raise
        except Exception as error:
            raise TargetUnavailableError(f"{uri}: fingerprint failed ({_reason(error)})") from error

    def _load(self, uri: str, fingerprint: str) -> WarmTarget:
        loader, rest = self._plugins.loader(uri)
        begin, resident = time.monotonic(), _resident_bytes()
        try:
            value = loader.load(rest, self._device)
        except AgentkitError:
            raise
        except Exception as error:
            raise TargetUnavailableError(f"{uri} does not load ({_reason(error)})") from error
        numbers = numbers_of(value)
        return WarmTarget(
            uri=uri,
            fingerprint=fingerprint,
            value=value,
            nbytes=sum(a.nbytes for a in numbers.values()) or max(_resident_bytes() - resident, 0),
            numbers=numbers,
            sha256=_sha256(numbers),
            versions=_versions(numbers),
            load_s=time.monotonic() - begin,
            dtype=_dtype(numbers),
        )

    def _evict(self) -> None:
        for uri in list(self._warm):
            if self.nbytes <= self._cap:
                return
            if uri not in self._in_use:
                self._check_before_dropping(self._warm[uri])
                self._warm.pop(uri, None)

    def _check_before_dropping(self, warm: WarmTarget) -> None:
        """A fault found now is not the running job's: it becomes a warning and the worker is replaced."""
        try:
            self._verify_bytes(warm)
        except TargetModifiedError as error:
            self.tampered = True
            self._warnings.append(str(error))

    def take_warnings(self) -> list[str]:
        """Faults found while dropping targets, each told once."""
        warnings, self._warnings = self._warnings, []
        return warnings

    def trim(self) -> None:
        """After a job: drop what does not fit, keeping the most recently used one."""
        self._in_use = {next(reversed(self._warm))} if self._warm else set()
        self._evict()
        if self._device != "cpu":
            devices.release()

    def fingerprints(self, uris: Mapping[str, str]) -> dict[str, str]:
        """Fingerprints of the warm ones among `uris`."""
        return {u: self._warm[u].fingerprint for u in uris if u in self._warm}

    def dtypes(self) -> dict[str, str]:
        """Number format of the targets in use, where they have one."""
        return {
            u: self._warm[u].dtype for u in sorted(self._in_use) if u in self._warm and self._warm[u].dtype
        }

    def unlisted(self, listed: Mapping[str, str]) -> dict[str, str]:
        """Targets the job used without naming them, with their fingerprints."""
        return {u: self._warm[u].fingerprint for u in sorted(self._in_use - set(listed)) if u in self._warm}


def numbers_of(value: Any) -> dict[str, Any]:
    """Every tensor and numpy array inside a target, by its path, each once, in a fixed order.

    Modules give their parameters and buffers; other objects are walked through attributes, dicts and lists.
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")

    def walk(item: Any, path: str, depth: int) -> None:
        if isinstance(item, _LEAVES) or id(item) in seen or depth > _WALK_DEPTH or len(seen) > _WALK_LIMIT:
            return
        seen.add(id(item))
        if (torch is not None and isinstance(item, torch.Tensor)) or (
            numpy is not None and isinstance(item, numpy.ndarray) and not item.dtype.hasobject
        ):
            found[path] = item
        elif torch is not None and isinstance(item, torch.nn.Module):
            for name, tensor in [*item.named_parameters(), *item.named_buffers()]:
                walk(tensor, f"{path}.{name}", depth)
        else:
            for step, inner in _inside(item):
                walk(inner, f"{path}{step}", depth + 1)

    walk(value, "", 0)
    return found


def _inside(item: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(item, dict):
        yield from ((f"[{key!r}]", inner) for key, inner in item.items())
    elif isinstance(item, list | tuple):
        yield from ((f"[{i}]", inner) for i, inner in enumerate(item))
    else:
        yield from ((f".{name}", inner) for name, inner in getattr(item, "__dict__", {}).items())
        for name in getattr(type(item), "__slots__", ()):
            yield f".{name}", getattr(item, name, None)


def _sha256(numbers: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for path, array in numbers.items():
        digest.update(f"{path}|{array.dtype}|{tuple(array.shape)}\0".encode())
        digest.update(_bytes_of(array))
    return digest.hexdigest()


def _bytes_of(array: Any) -> Any:
    """The numbers as contiguous bytes; every torch dtype, bfloat16 too, goes through a view as uint8."""
    if hasattr(array, "detach"):
        torch = sys.modules["torch"]
        flat = array.detach().contiguous().cpu().reshape(-1)
        array = flat.view(torch.uint8).numpy() if flat.numel() else flat.numpy()
    return memoryview(sys.modules["numpy"].ascontiguousarray(array).reshape(-1).view("uint8"))


def _versions(numbers: Mapping[str, Any]) -> tuple[int, ...]:
    """Write counters of the tensors: equal tuples, no ordinary in-place write in between."""
    return tuple(getattr(array, "_version", 0) for array in numbers.values())


def _dtype(numbers: Mapping[str, Any]) -> str:
    kinds = {str(a.dtype).removeprefix("torch.") for a in numbers.values()}
    return "+".join(sorted(k for k in kinds if "float" in k))


def _resident_bytes() -> int:
    from agentkit.workers.watch import resident_bytes

    return resident_bytes()


def _short(fingerprint: str) -> str:
    return fingerprint if len(fingerprint) <= 16 else f"{fingerprint[:12]}…"


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().rstrip(":")
