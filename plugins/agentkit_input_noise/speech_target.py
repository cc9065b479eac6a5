"""The targets `speech:` (spoken sentences), and `whisper:` and `pocketsphinx:` (recognisers from installed packages)."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import agentkit
from agentkit.errors import MissingExtraError, TargetError, TargetUnavailableError

SPHINX_PIP = "pip install pocketsphinx==5.1.1"


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
    from agentkit_input_noise.whisper_files import weights_sha256

    return weights_sha256(rest)


@agentkit.target("whisper", fingerprint=whisper_fingerprint)
def whisper(rest: str, device: str) -> Any:
    """Whisper speech recognition: whisper:tiny.en, whisper:base (installed packages), whisper:FOLDER (CTranslate2).

    Raises:
        MissingExtraError: faster-whisper is not installed.
        TargetChangedError: the weights are not the pinned ones.
    """
    from agentkit_input_noise.whisper_files import model_folder, require_pinned

    require_pinned(rest, whisper_fingerprint(rest))
    if importlib.util.find_spec("faster_whisper") is None:
        raise MissingExtraError("whisper: needs faster-whisper; run: pip install 'agentkit-perturb[audio]'")
    from agentkit_input_noise.whisper import Whisper

    return Whisper(model_folder(rest), device)


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
