"""The tool `noise.detect`: does a detector see attacks, or any noise of that size?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit
from agentkit_input_noise.sweep import Strengths


class Detect(Params):
    """Which detector is tried on which attack."""

    target: Annotated[str, Field(description="differentiable classifier that is attacked: URI")] = (
        "digits:cnn"
    )
    data: Annotated[str, Field(description="labelled images in [0, 1]: URI of a data set")] = "digits:"
    score: Annotated[str, Field(description="noise predictor of a diffusion model of the images: URI")] = (
        "digits:score"
    )
    detector: Annotated[
        Literal["eps_mmd", "eps_norm", "single_score"],
        Field(
            description="eps_mmd: distance of the expected score from that of clean train images; eps_norm: "
            "its length; single_score: its length at one diffusion time"
        ),
    ] = "eps_mmd"
    attack: Annotated[Literal["fgsm", "pgd", "uap"], Field(description="attack to detect")] = "pgd"
    eps: Annotated[Strengths, Field(description="L-inf radii in pixel units of [0, 1]")] = (0.05, 0.1, 0.2)
    draws: Annotated[int, Field(ge=1, le=16, description="noise draws of the expected score")] = 4
    times: Annotated[
        int, Field(ge=1, le=100, description="diffusion times of the expected score, up to 0.1")
    ] = 20
    items: Annotated[int, Field(ge=2, le=10_000, description="images per unit")] = 100


@agentkit.tool(
    name="noise.detect",
    version="2",
    metrics=[
        Metric("auroc", 0, 1, baseline=0.5),
        Metric("accuracy", 0, 1),
    ],
    resources=Resources(cpus=1),
    seconds_per_unit=1.0,
    splits_conditions=True,
    any_device=True,
)
def noise_detect(params: Detect, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Detect adversarial images, with harmless noise of the same size as the control.

    Each unit draws test images, an attack start and the detector's noise; clean and perturbed images are
    scored with the same noise. Conditions: `baseline` (clean against clean), `ATTACK=EPS`, and two controls
    that cannot be switched off: `random_sign=EPS` (same L-inf) and `random_sphere=EPS` (the attack's own L2,
    item by item). A detector of hostility must see the attack better than both; one that only measures
    distance from the data does not.

    Metrics over the unit's items: `auroc` (a perturbed image scores higher than a clean one, over all pairs)
    and `accuracy` (of the classifier, on the perturbed images).
    """
    from agentkit_input_noise import detect

    return detect.measure(params, units, ctx, noise_detect.metrics)
