"""Leakage, re-identification and what is left of the meaning: the kernel of `noise.pii`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit import BASELINE, Measurements
from agentkit_input_noise import curve_files, keyed, sweep
from agentkit_input_noise.embeddings import embed, embed_clean
from agentkit_input_noise.errors import NothingPerturbedError
from agentkit_input_noise.needs import ENCODER, TEXTS, fetch
from agentkit_input_noise.pii import PERSONAL, Hider, leaked, pool_of
from agentkit_input_noise.words import labelled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit import Context, Metric, Unit
    from agentkit_input_noise.embeddings import Vectors
    from agentkit_input_noise.pii_tool import Privacy

    Words = list[tuple[str, str]]

METRICS = ("leak_rate", "reidentified", "cosine", "edit_rate")


def measure(params: Privacy, units: Sequence[Unit], ctx: Context, metrics: Sequence[Metric]) -> Measurements:
    """All conditions on all units; see the tool's docstring."""
    encoder, data = fetch(ctx, params.target, ENCODER), fetch(ctx, params.data, TEXTS)
    cells = sweep.wanted(params.strategies, params.strengths, ctx)
    conditions = [BASELINE, *cells]
    words_of = pool_of(data.tokens, data.tags)
    values = np.zeros((len(METRICS), len(units), len(conditions)))
    examples: dict[str, list[dict[str, Any]]] = {}
    for u, unit in enumerate(units):
        rng = unit.rng("items")
        items = data.draw(rng, params.items)
        pool = [data.texts[i] for i in data.candidates(rng, items, params.candidates)]
        clean = labelled(data, items)
        key = keyed.stream_key(unit.rng("noise.pii"))
        personal = require_personal(clean)
        hidden = {BASELINE: (clean, 0)}
        for name, (strategy, share) in cells.items():
            found = Hider(strategy, params.detector, key, words_of).at(clean, share)
            sweep.require_edits(strategy, share, found.replaced, personal, len(items))
            hidden[name] = (found.sentences, found.replaced)
        vectors = embed_clean(encoder, [*pool, *(text_of(words) for words in clean)], ctx.batch)
        new = {text_of(words) for sentences, _ in hidden.values() for words in sentences} - set(vectors)
        every = {**vectors, **embed(encoder, sorted(new), ctx.batch)}
        total = sum(map(len, clean))
        for c, name in enumerate(conditions):
            sentences, replaced = hidden[name]
            values[:, u, c] = (*scores(clean, sentences, pool, every), replaced / total)
        if unit.index == 0:
            examples = {
                name: [
                    {"before": text_of(a), "after": text_of(b)} for a, b in zip(clean, sentences, strict=True)
                ]
                for name, (sentences, _) in hidden.items()
            }
        ctx.progress(u + 1, len(units))
    table = Measurements.from_arrays(units, conditions, dict(zip(METRICS, values, strict=True)))
    draw(ctx, params, table, metrics, units)
    curve_files.write_examples(ctx, examples)
    return table


def draw(
    ctx: curve_files.Files,
    params: Privacy,
    table: Measurements,
    metrics: Sequence[Metric],
    units: Sequence[Unit],
) -> None:
    """Store curves and claims of a whole exploration; leakage is turned into what is kept from falling."""
    drawn = [m for m in metrics if m.name in ("cosine", "reidentified")]
    falling = [m.model_copy(update={"higher_is_better": True}) for m in drawn]
    curve_files.write(
        ctx, table, units,
        curve_files.Sweep(params.strategies, params.strengths, falling, axis="share of personal values hidden"),
    )  # fmt: skip


def require_personal(clean: Sequence[Words]) -> int:
    """How many words have a personal label; without any, leakage means nothing.

    Raises:
        NothingPerturbedError: none has, whatever the detector would hide.
    """
    personal = sum(leaked(words, words)[1] for words in clean)
    if not personal:
        raise NothingPerturbedError(
            f"no word of {len(clean)} texts has a personal label, so nothing can leak; labels that count: "
            + ", ".join(sorted(PERSONAL))
        )
    return personal


def text_of(words: Words) -> str:
    """Words joined by blanks."""
    return " ".join(word for word, _ in words)


def scores(
    clean: Sequence[Words], hidden: Sequence[Words], pool: Sequence[str], vectors: Vectors
) -> tuple[float, float, float]:
    """Leak rate, share of texts found again among the candidates (strictly nearest), mean cosine to the original."""
    counts = np.array([leaked(a, b) for a, b in zip(clean, hidden, strict=True)])
    rows = np.stack([vectors[text_of(words)] for words in hidden])
    cosines = np.clip(rows @ np.stack([vectors[text] for text in pool]).T, -1, 1)
    place = {text: k for k, text in enumerate(pool)}
    at, right = np.arange(len(clean)), np.array([place[text_of(words)] for words in clean])
    same = np.array([text_of(a) == text_of(b) for a, b in zip(clean, hidden, strict=True)])
    cosines[at[same], right[same]] = 1.0
    own = cosines[at, right].copy()
    cosines[at, right] = -np.inf
    return (
        float(counts[:, 0].sum() / max(counts[:, 1].sum(), 1)),
        float((own > cosines.max(axis=1)).mean()),
        float(own.mean()),
    )
