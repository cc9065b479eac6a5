"""PocketSphinx: words from a dictionary by a trigram model, so it mishears but makes up no fluent story."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agentkit_input_noise.speech import RATE
from agentkit_input_noise.transcripts import Transcript

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Sphinx:
    """Writes down what is said in recordings of 16,000 samples a second, by the US English model of the package."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder  # type: ignore[import-untyped,import-not-found,unused-ignore]  # no stubs

        self._decoder = Decoder(samprate=RATE, loglevel="FATAL")

    def transcribe(self, waves: Sequence[NDArray[np.float32]]) -> list[Transcript]:
        """Text of each recording, and the mean log-probability of its words among what else was heard there."""
        return [self._one(wave) for wave in waves]

    def _one(self, wave: NDArray[np.float32]) -> Transcript:
        self._decoder.reinit_feat()  # or the mean sound of the last recording is carried over to this one
        self._decoder.start_utt()
        self._decoder.process_raw((wave.clip(-1, 1) * 32_767).astype("<i2").tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        if found is None or not found.hypstr:
            return Transcript("", -np.inf)
        words = [
            part.prob for part in self._decoder.seg() if part.word[0] not in "<["
        ]  # sounds that are no words
        return Transcript(found.hypstr, float(np.log(np.maximum(words, 1e-12)).mean()))
