"""The tool `noise.text`: misspelt queries against clean candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit
from agentkit_input_noise.sweep import Distinct, Strengths

TextKind = Literal[
    "typos", "delete", "insert", "swap", "ocr",
    "word_shuffle", "word_drop", "word_dup", "local_shuffle", "speech",
    "paraphrase", "simplify", "verbose", "append",
]  # fmt: skip


class TextNoise(Params):
    """Which texts are misspelt, how, and how strongly."""

    target: Annotated[str, Field(description="text encoder: URI of an object with encode(texts)")] = "minilm:"
    data: Annotated[
        str,
        Field(
            description="texts to find again, as a URI: addresses:, or intents: (requests to classify by intent)"
        ),
    ] = "addresses:"
    kinds: Annotated[
        tuple[TextKind, ...],
        Field(
            min_length=1,
            description="letters: typos (keyboard neighbours), delete, insert, swap (neighbouring letters), ocr "
            "(lookalikes); words: word_shuffle, word_drop, word_dup, local_shuffle, speech (as a listener hears "
            "it); by level: paraphrase, simplify, verbose, append",
        ),
        Distinct,
    ] = ("typos",)
    strengths: Strengths = (0.05, 0.1, 0.2, 0.4, 0.8)
    variants: Annotated[
        str | None,
        Field(description="texts rewritten by a language model instead of by rules: variants:FILE.jsonl"),
    ] = None
    items: Annotated[int, Field(ge=1, le=10_000, description="queries per unit")] = 16
    candidates: Annotated[
        int | None, Field(ge=2, description="clean texts to choose among, the right one included; null: all")
    ] = 298
    neighbours: Annotated[
        int, Field(ge=1, le=50, description="nearest candidates whose place is watched")
    ] = 10
    level: Annotated[
        int, Field(ge=1, le=3, description="how much paraphrase, simplify, verbose and append change")
    ] = 1

    @model_validator(mode="after")
    def _neighbours_are_candidates(self) -> TextNoise:
        if self.candidates is not None and self.neighbours > self.candidates:
            raise ValueError(f"neighbours {self.neighbours} of {self.candidates} candidates; ask for fewer")
        return self


@agentkit.tool(
    name="noise.text",
    version="2",
    metrics=[
        Metric("recall_at_1", 0, 1),
        Metric("margin", -1, 1),
        Metric("cosine", -1, 1, baseline=1),
        Metric("neighbours_kept", 0, 1, baseline=1),
        Metric("edit_rate", 0, 1, baseline=0, higher_is_better=None),
        Metric("accuracy", 0, 1),
        Metric("flip_rate", 0, 1, baseline=0, higher_is_better=False),
    ],
    resources=Resources(cpus=1),
    seconds_per_unit=1.0,
    splits_conditions=True,
    any_device=True,
    controls=["chance"],
)
def noise_text(params: TextNoise, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Misspell or reword queries and measure how well an encoder still finds the clean text.

    Record linkage: each unit draws `items` texts, perturbs them at every strength with nested edits (what is
    edited at 0.1 is edited in the same way at 0.2), and looks for each among `candidates` clean texts by
    cosine similarity. Conditions: `baseline` (clean queries), `chance` (answers drawn by lot),
    `KIND=STRENGTH`, for example `typos=0.1` (the share of editable letters or words that is edited), and
    `KIND=LEVEL` for paraphrase, simplify, verbose and append.

    Metrics, means over the unit's items: `recall_at_1` (the right text is strictly nearest), `margin`
    ((cosine to the right text - largest cosine to a wrong one) / 2), `cosine` (to the right text),
    `neighbours_kept` (share of the clean text's nearest candidates still among the query's nearest) and
    `edit_rate` (measured share of editable places that was edited). Of data with classes (`intents:`) also
    `accuracy` (the right class's train texts are nearest on average) and `flip_rate` (another class than that of
    the clean text). A call for all conditions also stores
    curve.json and curve.svg (fits, ED50, intervals: descriptive), strength.json, contrasts.json (claims to
    register) and examples.json.
    """
    from agentkit_input_noise import linkage

    return linkage.measure(params, units, ctx, noise_text.metrics)
