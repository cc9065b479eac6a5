"""The tool `noise.asr`: what a speech recogniser writes down when the recording is noisy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit
from agentkit_input_noise.sweep import MOST_STRENGTHS, Distinct

SILENCE = "silence"
"""The condition whose recordings hold nothing at all."""

SILENT_PREFIX = "silent_prefix"
"""The matched control of `prefix`: the same delay, without noise."""


def _no_zero(values: tuple[float, ...]) -> tuple[float, ...]:
    if 0 in values:
        raise ValueError("leave out 0: baseline is strength zero")
    return values


class SpeechNoise(Params):
    """Which recordings are perturbed, how, and how strongly."""

    target: Annotated[
        str,
        Field(
            description="speech recogniser: URI of an object with transcribe(waves): whisper:tiny.en, pocketsphinx:"
        ),
    ] = "whisper:tiny.en"
    data: Annotated[
        str, Field(description="spoken sentences, audio at 16 kHz: speech: or speech:FOLDER of your own")
    ] = "speech:"
    encoder: Annotated[
        str, Field(description="judges whether a transcript is about something else: URI with encode(texts)")
    ] = "minilm:"
    kinds: Annotated[
        tuple[Literal["white", "pink", "babble", "prefix", "clip", "dropout"], ...],
        Field(
            min_length=1,
            description="white: background noise (pink: deeper); babble: talking (other people); prefix: noise speech "
            "(a burst before the speech); clip: overdriven (peaks cut off); dropout: packets (of 20 ms, lost)",
        ),
        Distinct,
    ] = ("white", "prefix")
    snr: Annotated[
        tuple[Annotated[float, Field(ge=-10, le=30)], ...],
        Field(
            min_length=1, max_length=MOST_STRENGTHS,
            description="signal-to-noise ratios in dB of white, pink and babble; lower is louder noise",
        ),
        Distinct,
    ] = (10, 0, -5)  # fmt: skip
    seconds: Annotated[
        tuple[Annotated[float, Field(ge=0, le=5)], ...],
        Field(min_length=1, max_length=MOST_STRENGTHS, description="how long the prefix is, in seconds"),
        AfterValidator(_no_zero),
        Distinct,
    ] = (1.0,)
    amplitude: Annotated[float, Field(gt=0, le=1, description="how loud the prefix is, of full scale")] = 0.1
    shares: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], ...],
        Field(
            min_length=1, max_length=MOST_STRENGTHS,
            description="share of the peak that clip cuts off, share of the frames that dropout loses",
        ),
        AfterValidator(_no_zero),
        Distinct,
    ] = (0.2, 0.5, 0.8)  # fmt: skip
    items: Annotated[int, Field(ge=1, le=10_000, description="sentences per unit")] = 6


@agentkit.tool(
    name="noise.asr",
    version="1",
    metrics=[
        Metric("wer", 0, None, baseline=0, higher_is_better=False),
        Metric("cer", 0, None, baseline=0, higher_is_better=False),
        Metric("cosine", -1, 1, baseline=1),
        Metric("hallucinated", 0, 1, baseline=0, higher_is_better=False),
        Metric("empty", 0, 1, baseline=0, higher_is_better=False),
    ],
    resources=Resources(cpus=1, memory=3 << 30),
    seconds_per_unit=10.0,
    splits_conditions=True,
)
def noise_asr(params: SpeechNoise, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Add noise to speech recordings and measure whether a recogniser (Whisper) mishears, goes silent or hallucinates.

    Each unit draws `items` sentences among those that the recogniser writes down without a word wrong when
    they are clean, and its noise once: every strength uses the same random numbers. Conditions: `baseline`,
    `KIND=DB` for background noise at an exact signal-to-noise ratio, `prefix=SECONDS` for noise before the
    speech, `clip=SHARE`, `dropout=SHARE`. Matched controls that cannot be switched off: `silence` (recordings
    of the same length that hold nothing), beside `prefix` a `silent_prefix` of the same length, and beside
    `babble` white noise of the same power.

    Metrics over the unit's sentences: `wer` and `cer` (word and character errors over what was said),
    `cosine` (meaning of what was written to what was said; 0 for an empty transcript), `hallucinated` (share
    of transcripts of at least two words that are about something else, cosine below 0.2, and that the
    recogniser itself found fluent, mean log-probability above -1: provisional thresholds) and `empty`.
    """
    from agentkit_input_noise import asr

    return asr.measure(params, units, ctx, noise_asr.metrics)
