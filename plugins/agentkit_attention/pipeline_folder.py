"""Where a saved diffusers pipeline lies and whether it has a transformer, told without loading anything."""

from __future__ import annotations

import json
from pathlib import Path

from agentkit.errors import MissingExtraError, TargetError, TargetUnavailableError

INDEX = "model_index.json"


def require_transformer(folder: Path, uri: str) -> None:
    """Refuse a folder that is no pipeline, or whose network is no transformer, before anything is loaded."""
    index = folder / INDEX
    if not index.is_file():
        raise TargetError(f"{uri}: {folder} holds no {INDEX}; give the folder of a whole diffusers pipeline")
    try:
        parts = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TargetError(f"{uri}: {index} cannot be read ({error})") from None
    if "transformer" not in parts:
        kind = parts.get("_class_name", "pipeline")
        network = next((n for n in ("unet", "prior", "model") if n in parts), "another network")
        raise TargetError(
            f"{uri}: a {kind} has no transformer (its network is {network}); "
            "give a pipeline built around one, such as DiT, PixArt, SD3 or FLUX"
        )


def split_uri(rest: str) -> tuple[str, int | None]:
    """`PATH@256` as path and pixels per side."""
    path, at, pixels = rest.rpartition("@")
    return (path, int(pixels)) if at and pixels.isdigit() else (rest, None)


def pipeline_folder(rest: str) -> Path:
    """Folder of a pipeline by path, or by name from the local cache of the hub.

    Raises:
        TargetError: nothing is named. TargetUnavailableError: neither a folder nor in the cache.
        MissingExtraError: diffusers is absent.
    """
    name, _ = split_uri(rest)
    if not name:
        raise TargetError("diffusers: names no pipeline; write diffusers:FOLDER or diffusers:NAME")
    if (folder := Path(name).expanduser()).is_dir():
        return folder
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        raise MissingExtraError(
            f"diffusers:{rest}: needs diffusers; run: pip install 'agentkit-perturb[diffusion]'"
        ) from None
    index = try_to_load_from_cache(name, INDEX) if name.count("/") == 1 and ".." not in name else None
    if not isinstance(index, str):
        raise TargetUnavailableError(
            f"diffusers:{rest} is neither a folder nor in the local cache; fetch it once: hf download {name}"
        )
    return Path(index).parent
