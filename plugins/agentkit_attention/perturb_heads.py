"""The tool `attention.perturb_heads`: what a target's score loses when single attention heads are perturbed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

import agentkit
from agentkit import Context, Metric, Resources, Unit
from agentkit_attention.technique_table import TEXT_TECHNIQUES, technique_info


class PerturbHeads(agentkit.Params):
    """Which heads to perturb, how, and on what task."""

    target: Annotated[
        str, Field(description="the model, as a target URI: minilm:, smollm2: (a language model), hf:FOLDER")
    ] = "minilm:"
    data: Annotated[
        str, Field(description="the texts, as a target URI: addresses:, pairs: (sentences and paraphrases)")
    ] = "addresses:"
    sites: Annotated[
        str, Field(description="heads by name or pattern: L*.H*, L3.H2, 'L3.H0-5, L4.H1', encoder.layer.3/h*")
    ] = "L*.H*"
    group: Annotated[
        Literal["head", "layer", "set"],
        Field(description="one condition per head, per layer, or one for all chosen heads together"),
    ] = "head"
    technique: Annotated[
        str, Field(description="what is done to a head", json_schema_extra={"enum": list(TEXT_TECHNIQUES)})
    ] = "ablate"
    strength: Annotated[
        float | tuple[float, ...] | None,
        Field(description="strength, or several for a curve; the technique's default when null"),
    ] = None
    objective: Annotated[
        Literal["linkage", "pair_margin", "next_token"],
        Field(
            description="linkage: find the right record among candidates from a misspelt copy; "
            "pair_margin: tell a sentence's paraphrase from other sentences (data pairs:); "
            "next_token: predict each next word or token of the texts (targets with a language-model head)"
        ),
    ] = "linkage"
    n: Annotated[int, Field(ge=1, le=256, description="queries (or pairs, or texts) per unit")] = 2
    candidates: Annotated[int, Field(ge=2, le=512, description="candidate records per unit")] = 6
    typo_rate: Annotated[
        float, Field(ge=0, le=1, description="share of a query's characters hit by typos")
    ] = 0.2
    memory_mb: Annotated[int, Field(ge=64, le=65536, description="memory for one shared pass, MiB")] = 1024

    @property
    def strengths(self) -> tuple[float, ...]:
        """Every strength asked for, the technique's default when none was."""
        if self.strength is None:
            return (technique_info(self.technique).default,)
        return self.strength if isinstance(self.strength, tuple) else (self.strength,)

    @model_validator(mode="after")
    def _strengths_fit_the_technique(self) -> PerturbHeads:
        if self.technique not in TEXT_TECHNIQUES:
            raise ValueError(f"technique {self.technique!r} is none of {', '.join(TEXT_TECHNIQUES)}")
        if self.technique == "skip_layer" and self.group == "head":
            raise ValueError("technique skip_layer skips whole layers; choose group: layer or group: set")
        if not self.strengths or len(set(self.strengths)) != len(self.strengths):
            raise ValueError("strength: give at least one, each once")
        for strength in self.strengths:
            info = technique_info(self.technique)
            if not info.low <= strength <= info.high:
                raise ValueError(
                    f"{info.symbol} of {info.name} must be between {info.low:g} and {info.high:g}, not {strength:g}"
                )
        return self


METRICS = [
    Metric("recall_at_1", 0, 1),
    Metric("margin", -1, 1),
    Metric("pair_margin", -2, 2),
    Metric("cosine", -1, 1, baseline=1),
    Metric("nll", 0, higher_is_better=False),
    Metric("accuracy", 0, 1),
    Metric("js", 0, 1, baseline=0, higher_is_better=None),
]


@agentkit.tool(
    name="attention.perturb_heads",
    metrics=METRICS,
    version="1",
    seconds_per_unit=2.0,
    resources=Resources(memory=3 << 30),  # the pass may fill its memory_mb, and the model lies beside it
    atol=1e-6,
    any_device=True,
)
def perturb_heads(params: PerturbHeads, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Perturb attention heads one by one: which heads carry a match or paraphrase, or does next-word prediction depend on?

    Each unit draws `n` records, a misspelt copy of each, and `candidates` records to choose from; queries and
    candidates are encoded by the same perturbed model. All heads are measured in one forward pass that
    shares the layers before the perturbed one; the model itself is never changed.

    Conditions: `baseline` (the untouched model) and one per head (`L3.H2`), per layer (`L3`) or for the whole
    set (`set`); with several strengths `L3.H2:scale@2`. Metrics of `linkage`, each a mean over the unit's queries:
    recall_at_1: share whose right record has the strictly highest cosine similarity;
    margin: (cosine to the right record - highest cosine to a wrong one) / 2, in [-1, 1];
    cosine: similarity of each text's perturbed embedding to its untouched one, mean over all texts.
    Metric of `pair_margin` beside cosine: pair_margin, the cosine of a sentence to its paraphrase minus its mean
    cosine to the other paraphrases, in [-2, 2].
    Metrics of `next_token`, means over the texts of means over their tokens: nll in nats, accuracy (top 1), and
    js (Jensen-Shannon divergence from the untouched prediction, in bits).
    """
    from agentkit_attention.perturb_heads_run import run

    return run(params, units, ctx)
