"""Knowledge on disk: one .npz per content hash, written at once or not at all, read without pickle."""

from __future__ import annotations

import json
import logging
import os
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from agentkit_gene.loop.features import Block, Knowledge

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
TEXTS = ("genes", "set_names", "set_blocks", "full_names", "notes")
MATRICES = ("membership", "adjacency")


def default_cache() -> Path:
    """`agentkit/gene-features` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "agentkit" / "gene-features"


def store(folder: Path, knowledge: Knowledge) -> None:
    """Write under its hash; a folder that cannot be written to is no error, the features are simply built again."""
    arrays: dict[str, Any] = {
        "x": knowledge.x,
        "papers": knowledge.papers,
        "expression": knowledge.expression,
    }
    for name in TEXTS:
        arrays[name] = _bytes(list(getattr(knowledge, name)))
    arrays["blocks"] = _bytes([asdict(b) for b in knowledge.blocks])
    arrays["other_names"] = _bytes({k: list(v) for k, v in knowledge.other_names.items()})
    for name in MATRICES:
        matrix = getattr(knowledge, name)
        arrays[f"{name}.data"], arrays[f"{name}.indices"] = matrix.data, matrix.indices
        arrays[f"{name}.indptr"], arrays[f"{name}.shape"] = matrix.indptr, np.array(matrix.shape)
    path = folder / f"{knowledge.sha256}.npz"
    part = path.with_name(f"{path.stem}.{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        part.replace(path)
    except OSError as error:
        log.warning("features are not kept in %s (%s)", folder, error)
        part.unlink(missing_ok=True)


def load(folder: Path, sha256: str) -> Knowledge | None:
    """What was stored under this hash; None when it is absent or damaged."""
    path = folder / f"{sha256}.npz"
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            texts: dict[str, Any] = {name: tuple(_value(kept[name])) for name in TEXTS}
            matrices: dict[str, Any] = {name: _matrix(kept, name) for name in MATRICES}
            return Knowledge(
                x=kept["x"],
                papers=kept["papers"],
                expression=kept["expression"],
                blocks=tuple(Block(**{**b, "origins": tuple(b["origins"])}) for b in _value(kept["blocks"])),
                other_names={k: tuple(v) for k, v in _value(kept["other_names"]).items()},
                sha256=sha256,
                **texts,
                **matrices,
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s is damaged (%s); features are built again", path, error)
        return None


def _bytes(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


def _value(array: NDArray[np.uint8]) -> Any:
    return json.loads(array.tobytes())


def _matrix(kept: Any, name: str) -> sparse.csr_matrix:
    parts = (kept[f"{name}.data"], kept[f"{name}.indices"], kept[f"{name}.indptr"])
    return sparse.csr_matrix(parts, shape=tuple(kept[f"{name}.shape"].tolist()))
