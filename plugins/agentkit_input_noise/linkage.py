"""Record linkage and embedding drift under text noise: the kernel of `noise.text`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from agentkit import BASELINE, Measurements
from agentkit_input_noise import curve_files, keyed, letters, sweep
from agentkit_input_noise.embeddings import Vectors, embed, embed_clean, require_unicode
from agentkit_input_noise.needs import ENCODER, TEXTS, fetch
from agentkit_input_noise.sweep import CHANCE
from agentkit_input_noise.text_classes import NearestClass
from agentkit_input_noise.words import LEVEL_KINDS, WordNoise, labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from agentkit import Context, Metric, Unit
    from agentkit_input_noise.text_tool import TextNoise
    from agentkit_input_noise.variants import Variants

UNITS_AT_ONCE = 16
"""Units whose queries are encoded together, so that the encoder's fixed batches are full."""

METRICS = ("recall_at_1", "margin", "cosine", "neighbours_kept", "edit_rate")
WITH_CLASSES = (*METRICS, "accuracy", "flip_rate")


class Landing(NamedTuple):
    """Where one condition's queries land among the candidates, each of shape (items,).

    Attributes:
        to_right: cosine to the right candidate.
        to_wrong: largest cosine to a wrong one.
        wrong: index of that wrong candidate.
        kept: share of the clean text's nearest candidates that are among the query's nearest.
    """

    to_right: NDArray[np.float64]
    to_wrong: NDArray[np.float64]
    wrong: NDArray[np.int64]
    kept: NDArray[np.float64]

    def means(self, edit_rate: float) -> tuple[float, ...]:
        """Means over the items, in the order of `METRICS`."""
        lead = (self.to_right - self.to_wrong) / 2
        found = ((lead > 0).mean(), lead.mean(), self.to_right.mean(), self.kept.mean())
        return *(float(mean) for mean in found), edit_rate


@dataclass(frozen=True)
class Question:
    """One unit's queries in every condition, and what they are looked for among.

    Attributes:
        queries: texts by condition, each of length items.
        edit_rate: measured share of editable places edited, by condition.
        candidates: clean texts, all distinct.
        answers: index of each item's right candidate, shape (items,).
        lot: an answer drawn by lot for each item, shape (items,).
        items: the texts' indices in the data set.
    """

    queries: dict[str, list[str]]
    edit_rate: dict[str, float]
    candidates: list[str]
    answers: NDArray[np.int64]
    lot: NDArray[np.int64]
    items: Sequence[int]


def measure(
    params: TextNoise, units: Sequence[Unit], ctx: Context, metrics: Sequence[Metric]
) -> Measurements:
    """All conditions on all units; see the tool's docstring."""
    encoder, data = fetch(ctx, params.target, ENCODER), fetch(ctx, params.data, TEXTS)
    rewritten = ctx.target(params.variants) if params.variants else None
    cells = {name: cell for name, cell in cells_of(params).items() if ctx.wants(name)}
    conditions = [BASELINE, *([CHANCE] if ctx.wants(CHANCE) else []), *cells]
    classes = NearestClass(encoder, data, ctx.batch) if hasattr(data, "labels") else None
    names = METRICS if classes is None else WITH_CLASSES
    values = np.zeros((len(names), len(units), len(conditions)))
    examples: dict[str, list[dict[str, Any]]] = {}
    for start in range(0, len(units), UNITS_AT_ONCE):
        part = units[start : start + UNITS_AT_ONCE]
        questions = [ask(params, unit, data, cells, rewritten) for unit in part]
        clean = embed_clean(encoder, (c for q in questions for c in q.candidates), ctx.batch)
        texts = (t for q in questions for group in q.queries.values() for t in group if t not in clean)
        vectors = embed(encoder, texts, ctx.batch)
        for u, question in enumerate(questions, start):
            landed = {c: land(question, c, clean, vectors, params.neighbours) for c in conditions}
            told = [landing.means(question.edit_rate[c]) for c, landing in landed.items()]
            if classes is not None:
                labels = np.array([data.labels[i] for i in question.items])
                right = classified(question, conditions, classes, labels, units[u], clean | vectors)
                told = [(*a, *b) for a, b in zip(told, right, strict=True)]
            values[:, u] = np.array(told).T
            if units[u].index == 0:
                examples = {c: shown(question, c, landing) for c, landing in landed.items()}
        ctx.progress(min(start + UNITS_AT_ONCE, len(units)), len(units))
    table = Measurements.from_arrays(units, conditions, dict(zip(names, values, strict=True)))
    draw(ctx, params, table, metrics, units)
    curve_files.write_examples(ctx, examples)
    return table


def draw(
    ctx: curve_files.Files,
    params: TextNoise,
    table: Measurements,
    metrics: Sequence[Metric],
    units: Sequence[Unit],
) -> None:
    """Store curves and claims of a whole exploration."""
    main = ("accuracy", "recall_at_1") if "accuracy" in table.metrics else ("recall_at_1", "margin")
    drawn = [m for name in main for m in metrics if m.name == name]
    kinds = [k for k in params.kinds if k not in LEVEL_KINDS]
    curve_files.write(ctx, table, units, curve_files.Sweep(kinds, params.strengths, drawn))


def cells_of(params: TextNoise) -> dict[str, tuple[str, float]]:
    """Kind and strength or level of every condition but `baseline` and `chance`."""
    return {
        sweep.name_of(kind, strength): (kind, strength)
        for kind in params.kinds
        for strength in ((params.level,) if kind in LEVEL_KINDS else params.strengths)
    }


def ask(
    params: TextNoise,
    unit: Unit,
    data: Any,
    cells: dict[str, tuple[str, float]],
    rewritten: Variants | None = None,
) -> Question:
    """Draw one unit's items and candidates, and perturb the items in every condition asked for."""
    rng = unit.rng("items")
    items = data.draw(rng, params.items)
    pool = data.candidates(rng, items, params.candidates)
    place = {index: k for k, index in enumerate(pool)}
    texts = [data.texts[i] for i in items]
    require_unicode(texts)
    queries, edit_rate = {BASELINE: texts, CHANCE: texts}, {BASELINE: 0.0, CHANCE: 0.0}
    noise: dict[str, Callable[[float], tuple[list[str], int, int]]] = {}
    for name, (kind, strength) in cells.items():
        if kind not in noise:
            key = keyed.stream_key(unit.rng(f"noise.text.{kind}"))
            noise[kind] = noise_of(kind, data, items, key, rewritten)
        queries[name], edited, editable = noise[kind](strength)
        sweep.require_edits(kind, 0 if kind in LEVEL_KINDS else strength, edited, editable, len(items))
        edit_rate[name] = edited / editable
    return Question(
        queries=queries,
        edit_rate=edit_rate,
        candidates=[data.texts[i] for i in pool],
        answers=np.array([place[i] for i in items]),
        lot=unit.rng("chance").integers(0, len(pool), size=len(items)),
        items=items,
    )


def noise_of(
    kind: str, data: Any, items: Sequence[int], key: int, rewritten: Variants | None = None
) -> Callable[[float], tuple[list[str], int, int]]:
    """One kind on the items' texts: a function from strength to texts, edited and editable places."""
    if kind in letters.KINDS:  # on the text as it stands, whatever its blanks
        noise = letters.LetterNoise([data.texts[i] for i in items], items, kind, key)

        def by_letters(strength: float) -> tuple[list[str], int, int]:
            noised = noise.at(strength)
            return noised.texts, int(noised.edited.sum()), int(noised.editable.sum())

        return by_letters
    words = WordNoise(labelled(data, items), items, kind, key, data, variants=rewritten)

    def by_words(strength: float) -> tuple[list[str], int, int]:
        noised = words.at(strength)
        return [" ".join(word for word, _ in s) for s in noised.sentences], noised.edited, noised.editable

    return by_words


def land(question: Question, condition: str, clean: Vectors, vectors: Vectors, neighbours: int) -> Landing:
    """Cosines of one condition's queries to the candidates.

    The matrix product has the same shape in every call with the same params: its last bits may not depend
    on which conditions were asked for together.
    """
    queries = question.queries[condition]
    right = question.lot if condition == CHANCE else question.answers
    at = np.arange(len(queries))
    pool = np.stack([clean[c] for c in question.candidates])
    cosines = _cosines(queries, pool, clean, vectors)
    same = np.array([question.candidates[k] == q for k, q in zip(right.tolist(), queries, strict=True)])
    cosines[at[same], right[same]] = 1.0  # a text's cosine to itself, whatever the rounding
    kept = np.ones(len(queries))
    if condition == CHANCE:  # the nearest candidates of an answer drawn by lot
        kept = overlap(
            cosines, _cosines([question.candidates[k] for k in right], pool, clean, vectors), neighbours
        )
    elif condition != BASELINE:
        kept = overlap(cosines, _cosines(question.queries[BASELINE], pool, clean, vectors), neighbours)
    to_right = cosines[at, right].copy()
    cosines[at, right] = -np.inf
    wrong = cosines.argmax(axis=1)
    return Landing(to_right, cosines[at, wrong], wrong, kept)


def classified(
    question: Question,
    conditions: Sequence[str],
    classes: NearestClass,
    labels: NDArray[np.int64],
    unit: Unit,
    vectors: Vectors,
) -> list[tuple[float, float]]:
    """Accuracy and flip rate of every condition; those of `chance` are the clean classes, permuted over the items."""
    found = {c: classes.of([vectors[q] for q in question.queries[c]]) for c in {BASELINE, *conditions}}
    found[CHANCE] = found[BASELINE][unit.rng("chance.class").permutation(len(labels))]
    return [
        (float((found[c] == labels).mean()), float((found[c] != found[BASELINE]).mean())) for c in conditions
    ]


def _cosines(
    queries: Sequence[str], pool: NDArray[np.float64], clean: Vectors, vectors: Vectors
) -> NDArray[np.float64]:
    rows = np.stack([clean[q] if q in clean else vectors[q] for q in queries])
    found: NDArray[np.float64] = np.clip(rows @ pool.T, -1, 1)
    return found


def overlap(a: NDArray[np.float64], b: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """Share of each row's `neighbours` largest places in b that are among the largest in a, shape (items,)."""
    near_a, near_b = (np.argsort(-x, axis=1, kind="stable")[:, :neighbours] for x in (a, b))
    return np.array([np.isin(q, p).mean() for p, q in zip(near_a, near_b, strict=True)])


def shown(question: Question, condition: str, landing: Landing) -> list[dict[str, Any]]:
    """The first items of one condition: the clean text, the query, what was found, and whether it is right."""
    texts = question.candidates
    return [
        {
            "before": texts[answer],
            "after": query,
            "found": texts[answer] if lead > 0 else texts[wrong],
            "right": bool(lead > 0),
        }
        for answer, query, lead, wrong in zip(
            question.answers.tolist()[: curve_files.EXAMPLES],
            question.queries[condition],
            (landing.to_right - landing.to_wrong).tolist(),
            landing.wrong.tolist(),
            strict=False,
        )
        if condition != CHANCE
    ]
