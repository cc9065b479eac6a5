"""The tool `noise.pii`: personal data masked or replaced, what still leaks, and what the text is still good for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit
from agentkit_input_noise.sweep import Distinct, Strengths


class Privacy(Params):
    """Which personal data are hidden, how, and how many of them."""

    target: Annotated[
        str, Field(description="text encoder that an attacker links with: URI with encode(texts)")
    ] = "minilm:"
    data: Annotated[str, Field(description="texts with labelled words: URI of a data set")] = "addresses:"
    strategies: Annotated[
        tuple[Literal["mask", "type", "faux"], ...],
        Field(
            min_length=1,
            description="mask: stars (one a letter); type: label in brackets; faux: fake values (others of the same "
            "type and form, the same one wherever the original stands)",
        ),
        Distinct,
    ] = ("mask", "faux")
    strengths: Annotated[Strengths, Field(description="shares of the personal values that are hidden")] = (
        0.25,
        0.5,
        0.75,
        1.0,
    )
    detector: Annotated[
        Literal["tags", "rules"],
        Field(
            description="tags: labels of the data say what is personal; rules: patterns (numbers and capitals) guess"
        ),
    ] = "tags"
    items: Annotated[int, Field(ge=1, le=10_000, description="texts per unit")] = 16
    candidates: Annotated[
        int | None, Field(ge=2, description="clean texts that an attacker chooses among; null: all")
    ] = 298


@agentkit.tool(
    name="noise.pii",
    version="2",
    metrics=[
        Metric("leak_rate", 0, 1, baseline=1, higher_is_better=False),
        Metric("reidentified", 0, 1, higher_is_better=False),
        Metric("cosine", -1, 1, baseline=1),
        Metric("edit_rate", 0, 1, baseline=0, higher_is_better=None),
    ],
    resources=Resources(cpus=1),
    seconds_per_unit=1.0,
    splits_conditions=True,
    any_device=True,
)
def noise_pii(params: Privacy, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Anonymise texts by hiding personal data (PII), and measure what leaks and who is found again.

    Each unit draws `items` texts and decides by keyed hash which personal values are hidden; a value is hidden
    wherever it stands, and what is hidden at a share is hidden at every larger one. Conditions: `baseline` (texts
    as they are) and `STRATEGY=SHARE`.

    Metrics over the unit's texts: `leak_rate` (share of personal words that still stand in the text),
    `reidentified` (an attacker who compares embeddings finds the original among the candidates), `cosine` (to
    the original: what the text is still good for) and `edit_rate` (measured share of words that was replaced).
    Less leakage on known patterns is no anonymity.
    """
    from agentkit_input_noise import anonymised

    return anonymised.measure(params, units, ctx, noise_pii.metrics)
