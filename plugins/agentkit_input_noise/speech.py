"""Spoken sentences with their words: twenty that ship with the plugin, or a folder of a user's own recordings."""

from __future__ import annotations

import hashlib
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agentkit.errors import ParamError, TargetError
from agentkit_input_noise.addresses import draw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Wave = NDArray[np.float32]

RATE = 16_000
"""Samples a second that speech recognisers expect."""

SAMPLES = Path(__file__).parent / "data" / "speech.wav"
TABLE = SAMPLES.with_suffix(".tsv")
FULL_SCALE = 0.999
MOST_AT_FULL_SCALE = 0.005
"""Share of samples at full scale above which a recording counts as clipped."""


@dataclass(frozen=True, eq=False)
class Speech:
    """Recorded sentences.

    Attributes:
        waves: one waveform a sentence, mono float32 in [-1, 1], shape (samples,).
        texts: what is said.
        names: what each recording is called in messages.
        rate: samples a second.
        test: indices that questions are drawn from.
    """

    waves: tuple[Wave, ...] = field(repr=False)
    texts: tuple[str, ...]
    names: tuple[str, ...] = field(repr=False)
    rate: int
    test: tuple[int, ...] = field(repr=False)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[int, ...]:
        """Draw n sentences without replacement."""
        return draw(rng, self.test, n, what="recordings")


def shipped() -> Speech:
    """The twenty sentences of this plugin, 51 s."""
    samples, rate = read_wave(SAMPLES)
    rows = [line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines()]
    waves = tuple(samples[int(start) : int(end)] for start, end, _ in rows)
    names = tuple(f"sentence {i}" for i in range(len(rows)))
    return Speech(waves, tuple(text for _, _, text in rows), names, rate, tuple(range(len(rows))))


def from_folder(folder: Path) -> Speech:
    """Recordings NAME.wav with their words in NAME.txt.

    Raises:
        TargetError: no recording there, or one without its words.
    """
    files = files_of(folder)
    read = [read_wave(path) for path in files]
    rates = {rate for _, rate in read}
    if len(rates) > 1:
        raise TargetError(
            f"speech:{folder}: recordings have different rates: {sorted(rates)} Hz; resample them"
        )
    return Speech(
        waves=tuple(samples for samples, _ in read),
        texts=tuple(path.with_suffix(".txt").read_text(encoding="utf-8").strip() for path in files),
        names=tuple(path.name for path in files),
        rate=rates.pop(),
        test=tuple(range(len(files))),
    )


def files_of(folder: Path) -> list[Path]:
    """The recordings of a folder in the order of their names, each with its words beside it."""
    files = sorted(folder.glob("*.wav"))
    if not files:
        raise TargetError(
            f"speech:{folder} holds no NAME.wav; put recordings there with their words in NAME.txt"
        )
    for path in files:
        if not path.with_suffix(".txt").is_file():
            raise TargetError(
                f"speech:{folder}: {path.name} has no {path.stem}.txt beside it with what is said"
            )
    return files


def read_wave(path: Path) -> tuple[Wave, int]:
    """Samples in [-1, 1] and their rate.

    Raises:
        TargetError: not a WAV file of one channel and 16 bits.
    """
    try:
        with wave.open(str(path)) as stream:
            channels, width, rate = stream.getnchannels(), stream.getsampwidth(), stream.getframerate()
            data = stream.readframes(stream.getnframes())
    except (wave.Error, EOFError) as error:
        raise TargetError(f"{path} cannot be read as WAV ({error}); convert it to 16-bit PCM") from None
    if (channels, width) != (1, 2):
        raise TargetError(
            f"{path} has {channels} channels of {8 * width} bits; one channel of 16 bits is expected"
        )
    return np.frombuffer(data, dtype="<i2").astype(np.float32) / np.float32(32_768), rate


def content_hash(rest: str) -> str:
    """Hash of the bytes behind `speech:` or `speech:FOLDER`."""
    if not rest:
        paths = [SAMPLES, TABLE]
    elif Path(rest).is_dir():
        paths = [p for wav in files_of(Path(rest)) for p in (wav, wav.with_suffix(".txt"))]
    else:
        raise TargetError(f"speech:{rest} is no folder; write speech: or speech:FOLDER")
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def require_usable(data: Speech) -> None:
    """Refuse recordings on which a noise level or a transcript would mean nothing.

    Raises:
        ParamError: another rate than 16 kHz, or a recording that is silent, clipped, not mono or not finite,
            or has no words; the message names the first one.
    """
    if data.rate != RATE:
        raise ParamError(
            f"the speech has {data.rate} samples a second; {RATE} are expected: resample it (sox IN -r {RATE} OUT)"
        )
    for name, samples, text in zip(data.names, data.waves, data.texts, strict=True):
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise ParamError(
                f"{name} has shape {samples.shape} or holds NaN; mono samples in [-1, 1] are expected"
            )
        if not len(samples) or not samples.any():
            raise ParamError(
                f"{name} is silent, so no signal-to-noise ratio exists; leave it out or record it again"
            )
        if not np.issubdtype(samples.dtype, np.floating) or np.abs(samples).max() > 1:
            raise ParamError(
                f"{name} holds {samples.dtype} up to {np.abs(samples).max():g}; divide it by full scale: samples in "
                "[-1, 1] are expected"
            )
        if (np.abs(samples) >= FULL_SCALE).mean() > MOST_AT_FULL_SCALE:
            raise ParamError(
                f"{name} is clipped: {(np.abs(samples) >= FULL_SCALE).mean():.1%} of its samples are at full scale; "
                "record it with less gain"
            )
        if not any(c.isalnum() for c in text):
            raise ParamError(f"{name} has no words beside it")
