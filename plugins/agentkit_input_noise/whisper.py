"""Whisper through faster-whisper: greedy, at temperature zero, one recording at a time, so equal sound gives equal text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agentkit_input_noise.transcripts import Transcript

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

THREADS = 1


class Whisper:
    """Writes down what is said in recordings of 16,000 samples a second.

    Args:
        folder: a model in CTranslate2 form.
        device: `cpu` or `cuda:N`.
    """

    def __init__(self, folder: Path, device: str) -> None:
        from faster_whisper import WhisperModel  # type: ignore[import-untyped,import-not-found,unused-ignore]  # no stubs

        kind, _, number = device.partition(":")
        self._model = WhisperModel(
            str(folder), device=kind, device_index=int(number or 0), cpu_threads=THREADS, local_files_only=True,
            compute_type="int8" if kind == "cpu" else "float16",
        )  # fmt: skip

    def transcribe(self, waves: Sequence[NDArray[np.float32]]) -> list[Transcript]:
        """Text of each recording, and how sure the model was of its words (mean log-probability of a token)."""
        return [self._one(wave) for wave in waves]

    def _one(self, wave: NDArray[np.float32]) -> Transcript:
        found, _ = self._model.transcribe(
            np.ascontiguousarray(wave, dtype=np.float32), language="en", beam_size=1, temperature=0.0,
            condition_on_previous_text=False, vad_filter=False, without_timestamps=True,
        )  # fmt: skip
        parts = list(found)
        sizes = [len(part.tokens) for part in parts]
        if not sum(sizes):
            return Transcript("", -np.inf)
        sure = sum(n * part.avg_logprob for n, part in zip(sizes, parts, strict=True)) / sum(sizes)
        return Transcript("".join(part.text for part in parts).strip(), float(sure))
