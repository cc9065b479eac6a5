"""Files named by the SHA-256 of their bytes: written whole or not at all, and never pickled."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.errors import ParamError, ToolError, WorkerError, near_names
from agentkit.workers.whole import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

MEDIA_TYPES = {
    ".json": "application/json",
    ".csv": "text/csv",
    ".npz": "application/x-npz",
    ".safetensors": "application/x-safetensors",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}


@dataclass(frozen=True)
class Artifact:
    """What an `artifact` event says: the name a tool gave, and the file that holds its bytes."""

    name: str
    sha256: str
    bytes: int
    media_type: str
    file: str

    def to_json(self) -> dict[str, Any]:
        """As the data of an event."""
        return asdict(self)


class ArtifactStore:
    """A folder of files named `<sha256><suffix>`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, value: Any) -> Artifact:
        """Store `value` in the format that the suffix of `name` picks.

        Raises:
            ToolError: unknown suffix, or a value that this format cannot hold.
            OSError: the disk is full; no half-written file stays behind.
        """
        suffix = Path(name).suffix
        if suffix not in _WRITERS:
            raise ToolError(f"artifact {name!r}: no format {suffix!r}. {near_names(suffix, _WRITERS)}")
        try:
            content = _WRITERS[suffix](value)
        except (TypeError, ValueError, AttributeError) as error:
            kind = type(value).__name__
            raise ToolError(f"artifact {name!r}: a {kind} cannot be written as {suffix} ({error})") from error
        return self.put_bytes(name, content)

    def put_bytes(self, name: str, content: bytes) -> Artifact:
        """Store bytes as they are; equal bytes are stored once."""
        digest = hashlib.sha256(content).hexdigest()
        suffix = Path(name).suffix
        file = self.folder / f"{digest}{suffix}"
        if not file.exists():
            write_whole(file, content)
        media_type = MEDIA_TYPES.get(suffix, "application/octet-stream")
        return Artifact(name, digest, len(content), media_type, file.name)

    def read(self, artifact: Artifact) -> bytes:
        """The bytes, hashed again.

        Raises:
            WorkerError: the file is absent or holds other bytes than its name says.
        """
        file = self.folder / Path(artifact.file).name
        try:
            content = file.read_bytes()
        except OSError as error:
            raise WorkerError(f"artifact {artifact.name!r} ({artifact.file}): {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != artifact.sha256:
            raise WorkerError(
                f"artifact {artifact.name!r}: {artifact.file} does not hold the bytes it is named by"
            )
        return content

    def named(self, sha256: str) -> bytes:
        """The bytes with that SHA-256, whatever their format.

        Raises:
            ParamError: there is no such file in this folder, or it holds other bytes than its name says.
        """
        found = sorted(self.folder.glob(f"{sha256}.*")) if re.fullmatch("[0-9a-f]{64}", sha256) else []
        if not found:
            raise ParamError(
                f"no artifact sha256:{sha256} on this worker; write the 64 hex digits that an earlier run reported"
            )
        content = found[0].read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ParamError(f"artifact {found[0].name} is damaged: run again what made it")
        return content


def _json(value: Any) -> bytes:
    if hasattr(value, "to_json") and not isinstance(value, dict):
        value = value.to_json()
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False, indent=1).encode()


def _csv(value: Any) -> bytes:
    """Rows as dicts (the keys of the first are the header), as sequences, or a `Measurements`."""
    text = io.StringIO()
    if hasattr(value, "rows"):
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("unit", "condition", "metric", "value"))
        writer.writerows(value.rows())
        return text.getvalue().encode()
    rows = list(value)
    if rows and isinstance(rows[0], dict):
        table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    else:
        csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _arrays(value: Any) -> dict[str, Any]:
    """Named numpy arrays from a dict of arrays or tensors, or from one of them; objects are refused."""
    import numpy as np

    named = value if isinstance(value, dict) else {"array": value}
    arrays = {}
    for name, item in named.items():
        array = np.asarray(item.detach().cpu().numpy() if hasattr(item, "detach") else item)
        if array.dtype.hasobject:
            raise TypeError(f"{name!r} holds Python objects, which only a pickle could store")
        arrays[str(name)] = np.ascontiguousarray(array)
    return arrays


def _npz(value: Any) -> bytes:
    import numpy as np

    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **_arrays(value))
    return stream.getvalue()


def _safetensors(value: Any) -> bytes:
    from safetensors.numpy import save

    return bytes(save(dict(sorted(_arrays(value).items()))))


def _parquet(value: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        value.to_parquet(str(path))
        return path.read_bytes()


def _figure(kind: str) -> Callable[[Any], bytes]:
    def write(value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        if isinstance(value, str) and kind == "svg":
            return value.encode()
        stream = io.BytesIO()
        # No date and no version in the file: equal figures, equal hash.
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        value.savefig(stream, format=kind, metadata=metadata)
        return stream.getvalue()

    return write


def _text(value: Any) -> bytes:
    return str(value).encode()


_WRITERS: dict[str, Callable[[Any], bytes]] = {
    ".json": _json,
    ".csv": _csv,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
    ".png": _figure("png"),
    ".svg": _figure("svg"),
    ".txt": _text,
}
