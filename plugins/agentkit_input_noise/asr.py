"""Speech recognition under noise: the kernel of `noise.asr`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from agentkit import BASELINE, Measurements
from agentkit.errors import ParamError, TargetError
from agentkit_input_noise import curve_files, waves
from agentkit_input_noise.asr_tool import SILENCE, SILENT_PREFIX
from agentkit_input_noise.embeddings import Encoder, embed
from agentkit_input_noise.errors import TargetNotDeterministicError
from agentkit_input_noise.needs import ENCODER, RECOGNISER, SPEECH, fetch
from agentkit_input_noise.speech import Speech, require_usable
from agentkit_input_noise.sweep import name_of
from agentkit_input_noise.transcripts import Transcript, error_rates, is_hallucination, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit import Context, Metric, Unit
    from agentkit_input_noise.asr_tool import SpeechNoise
    from agentkit_input_noise.speech import Wave

METRICS = ("wer", "cer", "cosine", "hallucinated", "empty")

_CLEAN: WeakKeyDictionary[Any, WeakKeyDictionary[Any, list[Transcript]]] = WeakKeyDictionary()


class Recogniser(Protocol):
    """What `noise.asr` asks of a target; a transcript must not depend on the other recordings of the call."""

    def transcribe(self, waves: Sequence[Wave]) -> Sequence[Any]:
        """(text, mean log-probability of a token) of each recording of 16,000 samples a second."""


class Heard(NamedTuple):
    """One recording in one condition: what was said and written, how near, and the signal-to-noise ratio."""

    said: str
    transcript: Transcript
    cosine: float
    snr: float | None

    @property
    def hallucinated(self) -> bool:
        """Whether the transcript is fluent and about something else."""
        return is_hallucination(self.transcript, self.cosine)


def measure(
    params: SpeechNoise, units: Sequence[Unit], ctx: Context, metrics: Sequence[Metric]
) -> Measurements:
    """All conditions on all units; see the tool's docstring."""
    recogniser, data = fetch(ctx, params.target, RECOGNISER), fetch(ctx, params.data, SPEECH)
    encoder = fetch(ctx, params.encoder, ENCODER)
    clean = transcripts_of_clean(recogniser, data)
    pool = understood(data, clean, params.items)
    if "babble" in params.kinds and len(data.waves) < 2:
        raise ParamError(
            "babble mixes other recordings, and the data hold one; add some, or leave babble out"
        )
    cells = {name: cell for name, cell in cells_of(params).items() if ctx.wants(name)}
    conditions = [BASELINE, *([SILENCE] if ctx.wants(SILENCE) else []), *cells]
    values = np.zeros((len(METRICS), len(units), len(conditions)))
    shown: dict[str, list[dict[str, Any]]] = {}
    measured: dict[str, list[float]] = {}
    for u, unit in enumerate(units):
        items = [int(k) for k in unit.rng("items").choice(pool, params.items, replace=False)]
        heard = listen(params, unit, items, cells, conditions, (recogniser, data, encoder), clean)
        for c, name in enumerate(conditions):
            values[:, u, c] = scores(heard[name])
            measured.setdefault(name, []).extend(h.snr for h in heard[name] if h.snr is not None)
        if unit.index == 0:
            shown = {name: [_row(h) for h in of] for name, of in heard.items()}
        ctx.progress(u + 1, len(units))
    table = Measurements.from_arrays(units, conditions, dict(zip(METRICS, values, strict=True)))
    draw(ctx, params, table, metrics, units)
    write_strength(ctx, params, measured)
    curve_files.write_examples(ctx, shown)
    return table


def cells_of(params: SpeechNoise) -> dict[str, tuple[str, float]]:
    """Kind and strength of every condition but `baseline` and `silence`, matched controls among them."""
    kinds: list[str] = list(params.kinds)
    kinds += [SILENT_PREFIX] * ("prefix" in kinds) + ["white"] * ("babble" in kinds and "white" not in kinds)
    return {name_of(kind, s): (kind, s) for kind in kinds for s in strengths_of(params, kind)}


def strengths_of(params: SpeechNoise, kind: str) -> tuple[float, ...]:
    """The strengths of one kind: dB, seconds or shares."""
    if kind in waves.SNR_KINDS:
        return params.snr
    return params.seconds if kind in ("prefix", SILENT_PREFIX) else params.shares


def transcripts_of_clean(recogniser: Recogniser, data: Speech) -> list[Transcript]:
    """What the recogniser makes of every clean recording, once per worker.

    Raises:
        ParamError: recordings that are silent, clipped or not at 16 kHz.
        TargetNotDeterministicError: the first recording gives another transcript on a second pass.
    """
    known = _CLEAN.setdefault(recogniser, WeakKeyDictionary())
    if data not in known:
        require_usable(data)
        found = transcribed(recogniser, data.waves)
        if transcribed(recogniser, data.waves[:1]) != found[:1]:
            raise TargetNotDeterministicError(
                "the recogniser wrote something else on a second pass; let it decode greedily, at temperature 0"
            )
        known[data] = found
    return known[data]


def transcribed(recogniser: Recogniser, recordings: Sequence[Wave]) -> list[Transcript]:
    """One transcript a recording; raises `TargetError` where the recogniser returns something else."""
    found = list(recogniser.transcribe(recordings))
    if len(found) != len(recordings):
        raise TargetError(f"transcribe gave {len(found)} transcripts for {len(recordings)} recordings")
    try:
        pairs = [Transcript(str(text), float(sure)) for text, sure in found]
    except (TypeError, ValueError):
        raise TargetError(
            f"transcribe gave {found[0]!r}; pairs of text and mean log-probability were expected"
        ) from None
    if any(np.isnan(p.log_probability) for p in pairs):
        raise TargetError("transcribe gave NaN as a log-probability")
    return pairs


def understood(data: Speech, clean: Sequence[Transcript], items: int) -> list[int]:
    """Recordings written down without a word wrong: noise can only be judged on those.

    Raises:
        ParamError: fewer of them than items.
    """
    right = [k for k in data.test if words_of(clean[k].text) == words_of(data.texts[k])]
    if len(right) < items:
        raise ParamError(
            f"{items} sentences were asked for; the recogniser gets {len(right)} of {len(data.test)} right when they "
            f"are clean: ask for at most {len(right)} items, or give it clearer recordings"
        )
    return right


def listen(
    params: SpeechNoise,
    unit: Unit,
    items: Sequence[int],
    cells: dict[str, tuple[str, float]],
    conditions: Sequence[str],
    targets: tuple[Recogniser, Speech, Encoder],
    clean: Sequence[Transcript],
) -> dict[str, list[Heard]]:
    """One unit's recordings in every condition; equal recordings are transcribed once."""
    recogniser, data, encoder = targets
    sounds = {
        BASELINE: [data.waves[k] for k in items],
        SILENCE: [np.zeros_like(data.waves[k]) for k in items],
    }
    sounds |= perturbed(params, unit, items, data, cells)
    known = {data.waves[k].tobytes(): clean[k] for k in items}
    new = {w.tobytes(): w for name in conditions for w in sounds[name]}
    new = {key: wave for key, wave in new.items() if key not in known}
    known |= dict(zip(new, transcribed(recogniser, list(new.values())), strict=True))
    texts = {name: [known[w.tobytes()] for w in sounds[name]] for name in conditions}
    said = [data.texts[k] for k in items]
    written = [" ".join(words_of(t.text)) for of in texts.values() for t in of]
    vectors = embed(encoder, [" ".join(words_of(t)) for t in said] + [w for w in written if w])
    return {
        name: [
            Heard(text, t, cosine(text, t.text, vectors), snr_of(cells.get(name), data.waves[k], sound))
            for text, t, k, sound in zip(said, texts[name], items, sounds[name], strict=True)
        ]
        for name in conditions
    }


def perturbed(
    params: SpeechNoise, unit: Unit, items: Sequence[int], data: Speech, cells: dict[str, tuple[str, float]]
) -> dict[str, list[Wave]]:
    """The unit's recordings in every cell."""
    noise: dict[tuple[str, int], Any] = {}
    found: dict[str, list[Wave]] = {}
    for name, (kind, strength) in cells.items():
        if kind in ("prefix", SILENT_PREFIX):
            loud = params.amplitude if kind == "prefix" else 0.0
            found[name] = [
                waves.with_prefix(data.waves[k], strength, loud, unit, k, data.rate) for k in items
            ]
            continue
        for k in items:
            if (kind, k) not in noise:
                noise[kind, k] = waves.noise_for(kind, unit, k, data.waves)
        found[name] = [noise[kind, k](strength) for k in items]
    return found


def cosine(said: str, written: str, vectors: dict[str, Any]) -> float:
    """Nearness of meaning; exactly 1 for the same words and 0 for none."""
    a, b = " ".join(words_of(said)), " ".join(words_of(written))
    if a == b or not b:
        return float(a == b)
    return float(np.clip(vectors[a] @ vectors[b], -1, 1))


def snr_of(cell: tuple[str, float] | None, clean: Wave, noisy: Wave) -> float | None:
    """The measured signal-to-noise ratio where the kind has one."""
    return waves.measured_snr(clean, noisy) if cell is not None and cell[0] in waves.SNR_KINDS else None


def scores(heard: Sequence[Heard]) -> tuple[float, ...]:
    """Scores over a unit's recordings in one condition, in the order of `METRICS`."""
    rates = error_rates([h.said for h in heard], [h.transcript.text for h in heard])
    return (
        *rates,
        float(np.mean([h.cosine for h in heard])),
        float(np.mean([h.hallucinated for h in heard])),
        float(np.mean([not words_of(h.transcript.text) for h in heard])),
    )


def draw(
    ctx: curve_files.Files,
    params: SpeechNoise,
    table: Measurements,
    metrics: Sequence[Metric],
    units: Sequence[Unit],
) -> None:
    """Store curves and claims of a whole exploration, one row of panels for each kind of strength."""
    drawn = [m for m in metrics if m.name in ("wer", "hallucinated")]
    kinds = list(dict.fromkeys(kind for kind, _ in cells_of(params).values()))
    ratio = {10 ** (-d / 20): d for d in params.snr}
    sweep = curve_files.Sweep
    curve_files.write(
        ctx, table, units,
        sweep(
            [k for k in kinds if k in waves.SNR_KINDS], tuple(ratio), drawn,
            {"babble": "white"} if "babble" in kinds else {},
            axis="noise over speech, ratio of amplitudes", name=lambda kind, s: name_of(kind, ratio[s]),
        ),
        sweep(
            [k for k in kinds if k in ("prefix", SILENT_PREFIX)], params.seconds, drawn,
            {"prefix": SILENT_PREFIX}, axis="prefix, s",
        ),
        sweep([k for k in kinds if k in waves.SHARE_KINDS], params.shares, drawn, axis="share cut off or lost"),
    )  # fmt: skip


def write_strength(ctx: Context, params: SpeechNoise, measured: dict[str, list[float]]) -> None:
    """Store the measured beside the requested signal-to-noise ratio."""
    if ctx.conditions is None:
        rows = [
            {"condition": name, "requested_db": strength, "measured_db": float(np.mean(measured[name]))}
            for name, (_, strength) in cells_of(params).items()
            if measured.get(name)
        ]
        ctx.artifact("strength.json", rows)


def _row(heard: Heard) -> dict[str, Any]:
    sure = heard.transcript.log_probability
    return {
        "before": heard.said,
        "after": heard.transcript.text,
        "cosine": round(heard.cosine, 3),
        "log_probability": round(sure, 3) if np.isfinite(sure) else None,
        "hallucinated": heard.hallucinated,
    }
