"""The tool `noise.attack`: adversarial examples beside random controls of the same size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit
from agentkit_input_noise.sweep import Strengths


class Attack(Params):
    """Which classifier is attacked, how, and how strongly."""

    target: Annotated[
        str, Field(description="differentiable classifier: URI of a callable from images to logits")
    ] = "digits:cnn"
    data: Annotated[
        str, Field(description="images in [0, 1], as a URI: digits:, photos: (no labels, for effnet-lite0:)")
    ] = "digits:"
    kind: Annotated[
        Literal["fgsm", "pgd", "uap", "gradient_shift"],
        Field(
            description="fgsm: one step; pgd: projected gradient; uap: one perturbation for all images; "
            "gradient_shift: moved straight along the gradient by an L2 distance"
        ),
    ] = "pgd"
    backend: Annotated[
        Literal["native", "art"],
        Field(description="who runs fgsm and pgd; art: the Adversarial Robustness Toolbox"),
    ] = "native"
    eps: Annotated[Strengths, Field(description="radii in pixel units of [0, 1]")] = (
        0.02,
        0.05,
        0.1,
        0.15,
        0.2,
    )
    norm: Annotated[
        Literal["inf", "2"], Field(description="norm that eps is measured in; of gradient_shift 2")
    ] = "inf"
    step: Annotated[float | None, Field(gt=0, le=1, description="size of a step; null: a quarter of eps")] = (
        None
    )
    steps: Annotated[int, Field(ge=1, le=1_000, description="steps of pgd")] = 20
    restarts: Annotated[int, Field(ge=1, le=20, description="random starts of pgd")] = 1
    items: Annotated[int, Field(ge=1, le=10_000, description="images per unit")] = 100
    learn: Annotated[
        int, Field(ge=10, le=10_000, description="train images that uap learns from, per unit")
    ] = 300

    @model_validator(mode="after")
    def _art_knows_it(self) -> Self:
        if self.backend == "art" and self.kind not in ("fgsm", "pgd"):
            raise ValueError(f"backend 'art' runs fgsm and pgd; {self.kind} needs backend 'native'")
        return self

    @property
    def norm_of_eps(self) -> str:
        """The norm that eps is measured in, `inf` or `2`."""
        return "2" if self.kind == "gradient_shift" else self.norm


@agentkit.tool(
    name="noise.attack",
    version="2",
    metrics=[
        Metric("accuracy", 0, 1),
        Metric("flip_rate", 0, 1, baseline=0, higher_is_better=False),
        Metric("loss", 0, None, higher_is_better=False),
        Metric("linf", 0, 1, baseline=0, higher_is_better=None),
        Metric("l2", 0, None, baseline=0, higher_is_better=None),
    ],
    resources=Resources(cpus=1),
    seconds_per_unit=1.0,
    splits_conditions=True,
    any_device=True,
    controls=["chance"],
)
def noise_attack(params: Attack, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Attack a classifier by its gradient, and do harmless noise of the same size beside it.

    Each unit draws `items` test images (and, for uap, train images to learn the perturbation from, so its
    flips are on images it never saw). Conditions: `baseline`, `chance` (predictions permuted over the items),
    `KIND=EPS`, and two controls that cannot be switched off: `random_sign=EPS` (every value moves by eps, in L2
    by the item's own largest change, at random; the same L-inf) and `random_sphere=EPS` (a random direction with
    the attack's own L2, item by item).

    Metrics over the unit's items: `accuracy`, `flip_rate` (class differs from that of the clean image; of uap
    this is the held-out fooling rate), `loss` (mean cross-entropy), and the measured `linf` and `l2`. Data without
    labels have no `accuracy`: the attack leads away from the clean prediction, which is what `loss` is about.
    """
    from agentkit_input_noise import attacked

    return attacked.measure(params, units, ctx, noise_attack.metrics)
