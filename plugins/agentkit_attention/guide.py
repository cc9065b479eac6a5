"""The tool `attention.guide`: steer a diffusion transformer away from itself with perturbed heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

import agentkit
from agentkit import Context, Metric, Unit
from agentkit_attention.technique_table import technique_info

FD_ITEMS = 240
"""Fewest samples per unit for a Frechet distance."""


NEEDS_CALIBRATION = ("mean_ablate",)
"""Techniques that need outputs on other data, which guidance has none of."""


class Drawing(agentkit.Params):
    """What draws, how it is guided, and who scores it."""

    target: Annotated[str, Field(description="a diffusion target: digits-dit: or diffusers:FOLDER")] = (
        "digits-dit:"
    )
    technique: Annotated[str, Field(description="how the guiding heads are perturbed")] = "identity"
    u: Annotated[
        float | tuple[float, ...], Field(description="strength of the technique, or several for a curve")
    ] = 0.5
    w: Annotated[float, Field(ge=0, le=10, description="guidance weight")] = 1.5
    window: Annotated[
        tuple[float, float], Field(description="share of the steps with guidance: [start, stop]")
    ] = (0.0, 1.0)
    cfg: Annotated[
        float, Field(ge=0, le=15, description="classifier-free guidance; needs labels or prompts")
    ] = 0.0
    steps: Annotated[int, Field(ge=1, le=100, description="Euler steps")] = 12
    n: Annotated[int, Field(ge=2, le=4096, description="samples per unit")] = 24
    labels: Annotated[
        tuple[int, ...] | None, Field(description="classes to draw in turn; any class when null")
    ] = None
    prompts: Annotated[
        tuple[str, ...] | None,
        Field(description="texts to draw in turn, for a target that reads prompts; the empty text when null"),
    ] = None
    objective: Annotated[str, Field(description="the score a search may use, as a URI")] = "digits:cnn"
    judge: Annotated[str, Field(description="a score no search uses, as a URI")] = "digits-judge:"
    features: Annotated[
        str | None,
        Field(description="features and reference images for precision, recall and fd; none when null"),
    ] = "digits-judge:features"

    @property
    def strengths(self) -> tuple[float, ...]:
        """Every strength asked for."""
        return self.u if isinstance(self.u, tuple) else (self.u,)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        info = technique_info(self.technique)
        if not self.strengths or len(set(self.strengths)) != len(self.strengths):
            raise ValueError("u: give at least one strength, each once")
        for u in self.strengths:
            if not info.low <= u <= info.high:
                raise ValueError(
                    f"{info.symbol} of {info.name} must be between {info.low:g} and {info.high:g}, not {u:g}"
                )
        if not 0 <= self.window[0] <= self.window[1] <= 1:
            raise ValueError(f"window {list(self.window)}: start and stop in [0, 1], start first")
        if self.judge == self.objective:
            raise ValueError(
                f"judge and objective are both {self.judge!r}; a judge must not be what was searched with"
            )
        if self.cfg > 0 and self.labels is None and self.prompts is None:
            raise ValueError("cfg needs labels or prompts: without them there is nothing to guide towards")
        if self.labels is not None and self.prompts is not None:
            raise ValueError("give labels or prompts, not both")
        if self.technique in NEEDS_CALIBRATION:
            raise ValueError(
                f"technique {self.technique}: there is no calibration set to take means over; choose ablate or uniform"
            )
        return self


class Guide(Drawing):
    """Which sets of heads to guide with."""

    sets: Annotated[
        Mapping[str, tuple[str, ...]],
        Field(description="named sets of heads: {hunted: [L1.H0, L4.H1]}; a name may be a pattern: [L2.H*]"),
    ] = {}
    each: Annotated[
        str | None, Field(description="one condition for each head of this pattern, on top of `given`")
    ] = None
    given: Annotated[tuple[str, ...], Field(description="heads that every `each` condition also holds")] = ()
    random_k: Annotated[
        int,
        Field(ge=0, le=64, description="heads of the control condition random_k, drawn anew in every unit"),
    ] = 0

    @model_validator(mode="after")
    def _something_guides(self) -> Guide:
        if reserved := {"baseline", "random_k"} & set(self.sets):
            raise ValueError(f"sets: the name {sorted(reserved)[0]!r} is taken")
        if not self.sets and self.each is None and self.random_k == 0:
            raise ValueError("nothing to guide with: give sets, each, or random_k")
        return self


METRICS = [
    Metric("judge", 0, 1),
    Metric("objective", 0, 1),
    Metric("accuracy", 0, 1),
    Metric("precision", 0, 1),
    Metric("recall", 0, 1),
    Metric("inception", 1, 10),
    Metric("fd", 0, higher_is_better=False),
]


@agentkit.tool(name="attention.guide", metrics=METRICS, version="1", seconds_per_unit=1.0, any_device=True)
def guide(params: Guide, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Guide a diffusion transformer with perturbed attention heads and score what it draws.

    At every step the model is evaluated as it is (e) and with the chosen heads perturbed (p); the step follows
    e + w (e - p), as PAG and HeadHunter do (arXiv 2403.17377, 2506.10978). Diffusers' guider calls w + 1
    its scale; its original formulation and PAGMixin call w theirs. The model itself is never changed.

    Conditions share a unit's noise: `baseline` (no guidance), one per named set, one per head of `each`, and
    `random_k` (a fresh draw of heads in every unit, so its spread is the spread between sets); with several
    strengths `hunted=0.25`. Metrics, means over the unit's samples: judge and objective (confidence in [0, 1]),
    accuracy (with labels), precision and recall of the set against the real images, inception, and fd (Frechet
    distance of features, lower is better, only with n >= 240). A judged gain is not a gain in distribution:
    look at judge and fd together.
    """
    from agentkit_attention.guide_run import run

    return run(params, units, ctx)
