"""Noise on recordings: an exact signal-to-noise ratio, a prefix of noise, clipping, dropped frames.

A recording's noise depends on the unit, the kind and the recording and on nothing else; every strength of a
kind uses the same random numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agentkit_input_noise import keyed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from agentkit import Unit

    Wave = NDArray[np.float32]

FRAME = 320
"""Samples that drop out together: 20 ms at 16 kHz."""

TALKERS = 4
"""Other recordings that talk at once in `babble`."""

SNR_KINDS = ("white", "pink", "babble")
SHARE_KINDS = ("clip", "dropout")


def at_snr(wave: Wave, noise: NDArray[np.float64], decibels: float) -> Wave:
    """The recording with noise at an exact ratio of powers: x + n sqrt(mean x^2 / (mean n^2 10^(dB/10)))."""
    x = wave.astype(np.float64)
    factor = np.sqrt(np.mean(x**2) / (np.mean(noise**2) * 10 ** (decibels / 10)))
    noisy: Wave = (x + factor * noise).astype(np.float32)
    return noisy


def measured_snr(clean: Wave, noisy: Wave) -> float:
    """Ratio of powers of the recording and of what was added, in dB."""
    x, added = clean.astype(np.float64), noisy.astype(np.float64) - clean.astype(np.float64)
    return float(10 * np.log10(np.mean(x**2) / np.mean(added**2)))


def noise_for(kind: str, unit: Unit, item: int, waves: Sequence[Wave]) -> Callable[[float], Wave]:
    """One kind on one recording: a function from strength to the perturbed recording.

    Args:
        kind: of `SNR_KINDS` (strength: dB) or `SHARE_KINDS` (strength: share in (0, 1)).
        unit: where the random numbers come from.
        item: index of the recording in `waves`.
        waves: all recordings; `babble` mixes others.
    """
    wave = waves[item]
    rng = unit.rng(f"noise.asr.{kind}.{item}")
    if kind in SNR_KINDS:
        noise = {"white": _white, "pink": _pink, "babble": _babble}[kind](rng, item, waves)
        return lambda decibels: at_snr(wave, noise, decibels)
    if kind == "clip":
        return lambda share: clipped(wave, share)
    key = keyed.stream_key(rng)
    return lambda share: dropped(wave, share, key)


def with_prefix(wave: Wave, seconds: float, amplitude: float, unit: Unit, item: int, rate: int) -> Wave:
    """The recording after `seconds` of even noise in [-amplitude, amplitude]; of silence for amplitude 0."""
    size = round(seconds * rate)
    noise = unit.rng(f"noise.asr.prefix.{item}").uniform(-1, 1, size)
    return np.concatenate([(amplitude * noise).astype(np.float32), wave])


def clipped(wave: Wave, share: float) -> Wave:
    """The recording cut off at (1 - share) of its peak."""
    level = (1 - share) * np.abs(wave).max()
    return np.clip(wave, -level, level)


def dropped(wave: Wave, share: float, key: int) -> Wave:
    """A share of the frames of 20 ms is silent, nested in the share."""
    frames = -(-len(wave) // FRAME)
    gone = keyed.below(keyed.position_hashes(key, [0], np.array([frames])), share)
    return np.where(np.repeat(gone, FRAME)[: len(wave)], np.float32(0), wave)


def _white(rng: np.random.Generator, item: int, waves: Sequence[Wave]) -> NDArray[np.float64]:
    return rng.standard_normal(len(waves[item]))


def _pink(rng: np.random.Generator, item: int, waves: Sequence[Wave]) -> NDArray[np.float64]:
    """Power falls as 1/frequency."""
    spectrum = np.fft.rfft(rng.standard_normal(len(waves[item])))
    found: NDArray[np.float64] = np.fft.irfft(
        spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), n=len(waves[item])
    )
    return found


def _babble(rng: np.random.Generator, item: int, waves: Sequence[Wave]) -> NDArray[np.float64]:
    """Several other recordings at once, each at equal power from a random moment on, repeated as needed."""
    others = [k for k in range(len(waves)) if k != item]
    talkers = rng.choice(others, size=min(TALKERS, len(others)), replace=False)
    size = len(waves[item])
    mix = np.zeros(size)
    for k in talkers:
        voice = waves[k].astype(np.float64)
        mix += np.resize(np.roll(voice / np.sqrt(np.mean(voice**2)), int(rng.integers(len(voice)))), size)
    return mix
