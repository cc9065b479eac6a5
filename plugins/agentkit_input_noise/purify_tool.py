"""The tool `noise.purify`: does cleaning an image before the classifier undo an attack, and one that expects it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit
from agentkit_input_noise.sweep import Distinct, Strengths


class Purify(Params):
    """Which purifiers stand before which classifier, and how strongly it is attacked."""

    target: Annotated[
        str, Field(description="differentiable classifier: URI of a callable from images to logits")
    ] = "digits:cnn"
    data: Annotated[str, Field(description="labelled images in [0, 1]: URI of a data set")] = "digits:"
    purifiers: Annotated[
        tuple[Literal["blur", "median", "total_variation", "dct", "projection"], ...],
        Field(
            min_length=1,
            description="blur: Gaussian blur; median: of 3 x 3 pixels; total_variation: denoising that keeps edges; "
            "dct: frequencies rounded as JPEG does; projection: onto principal components of train images",
        ),
        Distinct,
    ] = ("blur", "median", "total_variation", "dct", "projection")
    eps: Annotated[Strengths, Field(description="radii of the attack in pixel units of [0, 1]")] = (
        0.05, 0.1, 0.2,
    )  # fmt: skip
    norm: Annotated[Literal["inf", "2"], Field(description="norm that eps is measured in")] = "inf"
    steps: Annotated[int, Field(ge=1, le=1_000, description="steps of projected gradient")] = 20
    items: Annotated[int, Field(ge=1, le=10_000, description="images per unit")] = 100


@agentkit.tool(
    name="noise.purify",
    version="1",
    metrics=[
        Metric("accuracy", 0, 1),
        Metric("l2", 0, None, baseline=0, higher_is_better=None),
        Metric("l2_left", 0, None, baseline=0, higher_is_better=False),
    ],
    resources=Resources(cpus=1),
    seconds_per_unit=3.0,
    any_device=True,
    splits_conditions=True,
    controls=["chance"],
)
def noise_purify(params: Purify, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Clean attacked images before a classifier sees them (adversarial purification, input defences).

    Each unit draws test images and attacks them with projected gradient. Conditions without a purifier: `baseline`
    (clean images), `chance` (predictions permuted over the items), `pgd=EPS`, and `random_sphere=EPS` (a random
    direction with the attack's own L2, item by item). With each purifier: `PURIFIER.clean`, what it costs where
    nobody attacks; `PURIFIER.pgd=EPS`, the very images of `pgd=EPS` (grey box: the attacker does not know of the
    purifier, and what this shows is not robustness); `PURIFIER.random_sphere=EPS`; and `PURIFIER.adaptive=EPS`,
    which cannot be switched off: the attack climbs through the purifier, gradients pass its rounding straight
    (Athalye et al., arXiv 1802.00420), and of both attacks each item gets the one of larger loss.

    Metrics over the unit's items: `accuracy`, and the L2 distance to the clean image of what was sent in (`l2`)
    and of what the classifier saw (`l2_left`).
    """
    from agentkit_input_noise import purified

    return purified.measure(params, units, ctx, noise_purify.metrics)
