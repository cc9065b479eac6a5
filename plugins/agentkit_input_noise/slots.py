"""Slot filling under noise: the kernel of `noise.slots`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from agentkit import BASELINE, Measurements
from agentkit_input_noise import curve_files, keyed, letters, slot_table, sweep
from agentkit_input_noise.errors import LabelMismatchError, TargetNotDeterministicError
from agentkit_input_noise.needs import TAGGED, TAGGER, fetch
from agentkit_input_noise.spans import score
from agentkit_input_noise.sweep import CHANCE, name_of
from agentkit_input_noise.tagger import tag_names
from agentkit_input_noise.tagger_target import StoredAdapter
from agentkit_input_noise.words import LEVEL_KINDS, WordNoise, Words, labelled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit import Context, Metric, Unit
    from agentkit_input_noise.slots_tool import SlotNoise
    from agentkit_input_noise.variants import Variants

METRICS = ("span_f1", "token_accuracy", "exact", "edit_rate")
LETTER_KINDS = (*letters.KINDS, "entity_typos", "spelling")

Steps = tuple[tuple[str, float], ...]
"""Kinds with their strengths or levels, in the order in which they are applied."""


class Tagger(Protocol):
    """What `noise.slots` asks of a target."""

    def predict(self, sentences: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
        """One tag a word; a sentence's tags do not depend on the other sentences of the call."""


class Perturbed(NamedTuple):
    """One unit's sentences in one condition, and the measured strength."""

    sentences: list[Words]
    edit_rate: float


def measure(
    params: SlotNoise, units: Sequence[Unit], ctx: Context, metrics: Sequence[Metric]
) -> Measurements:
    """All conditions on all units; see the tool's docstring."""
    data = fetch(ctx, params.data, TAGGED)
    tagger = tagger_of(params, ctx, data)
    rewritten = ctx.target(params.variants) if params.variants else None
    steps = {name: plan for name, plan in plans(params).items() if ctx.wants(name)}
    conditions = [BASELINE, *([CHANCE] if ctx.wants(CHANCE) else []), *steps]
    values = np.zeros((len(METRICS), len(units), len(conditions)))
    examples: dict[str, list[dict[str, Any]]] = {}
    for u, unit in enumerate(units):
        variants = perturb(params, unit, data, steps, rewritten)
        tags = predict(tagger, [v.sentences for v in variants.values()], twice=u == 0)
        predicted = dict(zip(variants, tags, strict=True))
        if CHANCE in conditions:
            variants[CHANCE] = variants[BASELINE]
            predicted[CHANCE] = permuted(predicted[BASELINE], unit.rng("chance"))
        for c, name in enumerate(conditions):
            gold = [[tag for _, tag in words] for words in variants[name].sentences]
            values[:, u, c] = (*score(gold, predicted[name], data.outside), variants[name].edit_rate)
        if unit.index == 0:
            examples = shown(variants, predicted)
        ctx.progress(u + 1, len(units))
    table = Measurements.from_arrays(units, conditions, dict(zip(METRICS, values, strict=True)))
    draw(ctx, params, table, metrics, units)
    curve_files.write_examples(ctx, examples)
    return table


def tagger_of(params: SlotNoise, ctx: Context, data: Any) -> Tagger:
    """The tagger behind the target; an adapter among the store's artifacts is read through the worker."""
    found = ctx.target(params.target)
    if isinstance(found, StoredAdapter):
        from agentkit_input_noise.adapter_tagger import opened

        return opened(found.sha256, ctx, tag_names(data), data.outside)
    tagger: Tagger = fetch(ctx, params.target, TAGGER)
    return tagger


def draw(
    ctx: curve_files.Files,
    params: SlotNoise,
    table: Measurements,
    metrics: Sequence[Metric],
    units: Sequence[Unit],
) -> None:
    """Store curves and claims of a whole exploration."""
    drawn = [m for m in metrics if m.name in ("span_f1", "exact")]
    kinds, jumps = curve_kinds(params)
    curve_files.write(ctx, table, units, curve_files.Sweep(kinds, params.strengths, drawn, only_mapped=jumps))
    if ctx.conditions is None and len(units) >= curve_files.LEAST_UNITS:
        strongest: dict[str, str] = {}
        for name in sorted(plans(params), key=lambda name: plans(params)[name][0][1]):
            strongest[name.rpartition("=")[0]] = name
        order = [*params.kinds, *("+".join(mix) for mix in params.every_mix)]
        rows = slot_table.rows_of(table, {kind: strongest[kind] for kind in order})
        ctx.artifact("noisy_f1.json", rows)
        ctx.artifact("noisy_f1.svg", slot_table.draw_table(rows))


def plans(params: SlotNoise) -> dict[str, Steps]:
    """The steps of every condition but `baseline` and `chance`, by name."""
    found: dict[str, Steps] = {}
    for kind in params.kinds:
        for strength in (params.level,) if kind in LEVEL_KINDS else params.strengths:
            found[name_of(kind, strength)] = ((kind, strength),)
    for mix in params.every_mix:
        for strength in params.strengths:
            steps = tuple((kind, params.level if kind in LEVEL_KINDS else strength) for kind in mix)
            found[name_of("+".join(mix), strength)] = steps
    return found


def curve_kinds(params: SlotNoise) -> tuple[list[str], list[str]]:
    """Kinds and mixes with a curve, and mixes that add or drop words at every strength: they jump at zero."""
    smooth: list[str] = [k for k in params.kinds if k not in LEVEL_KINDS]
    jumps: list[str] = []
    for mix in params.every_mix:
        (jumps if set(mix) & set(LEVEL_KINDS) else smooth).append("+".join(mix))
    return smooth, jumps


def perturb(
    params: SlotNoise, unit: Unit, data: Any, steps: dict[str, Steps], rewritten: Variants | None = None
) -> dict[str, Perturbed]:
    """Draw one unit's items and perturb them in every condition; `baseline` first."""
    items = data.draw(unit.rng("items"), params.items)
    clean = labelled(data, items)
    keys = {
        kind: keyed.stream_key(unit.rng(f"noise.slots.{kind}")) for plan in steps.values() for kind, _ in plan
    }
    first = {
        kind: WordNoise(clean, items, kind, key, data, params.window, rewritten) for kind, key in keys.items()
    }
    found = {BASELINE: Perturbed(clean, 0.0)}
    for name, plan in steps.items():
        sentences, counts = clean, []
        for n, (kind, strength) in enumerate(plan):
            noise = (
                first[kind] if n == 0 else WordNoise(sentences, items, kind, keys[kind], data, params.window)
            )
            noised = noise.at(strength)
            sentences = noised.sentences
            if kind not in LEVEL_KINDS:
                sweep.require_edits(kind, strength, noised.edited, noised.editable, len(items))
            counts.append((kind, noised.edited, noised.editable))
        found[name] = Perturbed(sentences, measured_rate(counts))
    return found


def measured_rate(counts: Sequence[tuple[str, int, int]]) -> float:
    """Edited over editable, of the kinds that write letters if there are any."""
    counted = [c for c in counts if c[0] in LETTER_KINDS] or counts
    return sum(c[1] for c in counted) / max(sum(c[2] for c in counted), 1)


def predict(tagger: Tagger, variants: Sequence[list[Words]], *, twice: bool) -> list[list[list[str]]]:
    """Tags of every sentence of every variant; each distinct sentence is tagged once.

    Raises:
        LabelMismatchError: the tagger returned another number of sentences, or of tags than words.
        TargetNotDeterministicError: with `twice`, a second pass over the first variant differs.
    """
    texts = [[tuple(word for word, _ in words) for words in sentences] for sentences in variants]
    distinct = list(dict.fromkeys(t for sentences in texts for t in sentences))
    given = [list(t) for t in tagger.predict(distinct)]
    if len(given) != len(distinct):
        raise LabelMismatchError(f"the tagger gave tags of {len(given)} sentences for {len(distinct)}")
    tags = dict(zip(distinct, given, strict=True))
    for words, found in tags.items():
        if len(words) != len(found):
            raise LabelMismatchError(
                f"the tagger gave {len(found)} tags for the {len(words)} words of {' '.join(words)!r}"
            )
    if twice and [list(t) for t in tagger.predict(texts[0])] != [tags[t] for t in texts[0]]:
        raise TargetNotDeterministicError(
            "the tagger gave other tags on a second pass; put it into evaluation mode"
        )
    return [[tags[t] for t in sentences] for sentences in texts]


def permuted(tags: list[list[str]], rng: np.random.Generator) -> list[list[str]]:
    """The same tags in random order over all words of all sentences."""
    flat = [t for sentence in tags for t in sentence]
    mixed = iter([flat[i] for i in rng.permutation(len(flat))])
    return [[next(mixed) for _ in sentence] for sentence in tags]


def shown(
    variants: dict[str, Perturbed], predicted: dict[str, list[list[str]]]
) -> dict[str, list[dict[str, Any]]]:
    """The first items of every condition: clean text, noisy text, its labels and what was predicted."""
    clean = variants[BASELINE].sentences
    return {
        name: [
            {
                "before": " ".join(w for w, _ in clean[i]),
                "after": " ".join(w for w, _ in variant.sentences[i]),
                "labels": [t for _, t in variant.sentences[i]],
                "predicted": predicted[name][i],
            }
            for i in range(min(curve_files.EXAMPLES, len(clean)))
        ]
        for name, variant in variants.items()
        if name != CHANCE
    }
