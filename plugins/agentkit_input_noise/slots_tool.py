"""The tool `noise.slots`: noisy slot filling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit
from agentkit_input_noise.sweep import Distinct, Strengths

SlotKind = Literal[
    "typos", "delete", "insert", "swap", "ocr", "entity_typos", "spelling",
    "word_shuffle", "word_drop", "word_dup", "local_shuffle", "speech",
    "paraphrase", "simplify", "verbose", "append",
]  # fmt: skip

Mix = tuple[SlotKind, ...]

NOISE_LLM: tuple[Mix, ...] = (
    ("spelling", "entity_typos"),
    ("spelling", "append"),
    ("entity_typos", "append"),
    ("spelling", "entity_typos", "append"),
)
"""The four mixes of Noise-LLM (arXiv 2310.06504), applied in this order."""


def _two_or_more(mixes: str | tuple[Mix, ...]) -> str | tuple[Mix, ...]:
    for mix in mixes if isinstance(mixes, tuple) else ():
        if len(mix) < 2 or len(set(mix)) < len(mix):
            raise ValueError(f"a mix is two or more different kinds, not {list(mix)}")
    return mixes


class SlotNoise(Params):
    """Which labelled texts are perturbed, how, and how strongly."""

    target: Annotated[str, Field(description="tagger: URI of an object with predict(sentences)")] = (
        "tagger:ngram"
    )
    data: Annotated[str, Field(description="labelled texts: URI of a data set with tokens and tags")] = (
        "addresses:"
    )
    kinds: Annotated[
        tuple[SlotKind, ...],
        Field(
            min_length=1,
            description="letters: typos, delete, insert, swap, ocr, entity_typos (in names only), spelling (in "
            "words of closed classes only); words: word_shuffle, word_drop, word_dup, local_shuffle, speech; "
            "by level: paraphrase, simplify, verbose, append",
        ),
        Distinct,
    ] = ("typos", "speech", "paraphrase", "simplify", "verbose")
    strengths: Strengths = (0.05, 0.1, 0.2, 0.4)
    mixes: Annotated[
        Literal["none", "noise_llm"] | tuple[Mix, ...],
        Field(description="several kinds at once: none, noise_llm (its four mixes), or lists of kinds"),
        AfterValidator(_two_or_more),
    ] = "none"
    level: Annotated[
        int, Field(ge=1, le=3, description="how much paraphrase, simplify, verbose and append change")
    ] = 1
    variants: Annotated[
        str | None,
        Field(description="texts rewritten by a language model instead of by rules: variants:FILE.jsonl"),
    ] = None
    items: Annotated[int, Field(ge=1, le=10_000, description="texts per unit")] = 100
    window: Annotated[int, Field(ge=2, le=10, description="how far local_shuffle moves a word, in words")] = 3

    @property
    def every_mix(self) -> tuple[Mix, ...]:
        """The mixes spelled out."""
        if isinstance(self.mixes, str):
            return NOISE_LLM if self.mixes == "noise_llm" else ()
        return self.mixes


@agentkit.tool(
    name="noise.slots",
    version="1",
    metrics=[
        Metric("span_f1", 0, 1),
        Metric("token_accuracy", 0, 1),
        Metric("exact", 0, 1),
        Metric("edit_rate", 0, 1, baseline=0, higher_is_better=None),
    ],
    resources=Resources(cpus=1),
    seconds_per_unit=0.3,
    splits_conditions=True,
    controls=["chance"],
)
def noise_slots(params: SlotNoise, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Perturb labelled texts, carry the labels along, and measure how much of the slots a tagger still finds.

    Each unit draws `items` test texts; every condition perturbs the same ones, with nested edits. Conditions:
    `baseline`, `chance` (its predictions permuted over all words), `KIND=STRENGTH` for kinds of letters and
    words, `KIND=LEVEL` for paraphrase, simplify, verbose and append, and `A+B=STRENGTH` for mixes, whose
    kinds are applied one after another with their own keys.

    Metrics over the unit's items: `span_f1` (spans are runs of one tag; a span found on an added word is a
    false positive), `token_accuracy`, `exact` (share of texts with every tag right) and `edit_rate` (measured
    share of editable letters or words that was edited; of a mix, its letters). On addresses nearly every word
    is in a slot, so `spelling` writes in closed-class parts and `entity_typos` in names: an adaptation of the
    Noise-LLM kinds, as are the rule-based speech, paraphrase, simplify and verbose.
    """
    from agentkit_input_noise import slots

    return slots.measure(params, units, ctx, noise_slots.metrics)
