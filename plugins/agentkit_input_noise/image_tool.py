"""The tool `noise.image`: noisy images in front of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit
from agentkit.errors import unknown
from agentkit_input_noise.sweep import Distinct, Strengths

PIXEL_KINDS = ("gaussian", "uniform", "impulse", "shot", "edge_weighted")
IMAGENET_C = "imagenet_c."
CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    "speckle_noise", "gaussian_blur", "spatter", "saturate",
)  # fmt: skip
"""The 19 corruptions of ImageNet-C (Hendrycks and Dietterich, arXiv 1903.12261)."""

EVERY_KIND = (*PIXEL_KINDS, *(IMAGENET_C + name for name in CORRUPTIONS))


def _known(kinds: tuple[str, ...]) -> tuple[str, ...]:
    for kind in kinds:
        if kind not in EVERY_KIND:
            raise ValueError(unknown("kind of image noise", kind, EVERY_KIND))
    return kinds


class ImageNoise(Params):
    """Which images are perturbed, how, and how strongly."""

    target: Annotated[
        str, Field(description="classifier from images to logits, as a URI: digits:cnn, effnet-lite0:")
    ] = "digits:cnn"
    data: Annotated[
        str,
        Field(
            description="images in [0, 1], as a URI: digits:, photos: (224 x 224, no labels, for effnet-lite0:)"
        ),
    ] = "digits:"
    kinds: Annotated[
        tuple[Annotated[str, Field(json_schema_extra={"enum": list(EVERY_KIND)})], ...],
        Field(
            min_length=1,
            description="gaussian, edge_weighted (strength: standard deviation), uniform (half-width), impulse "
            "(share of values set to black or white), shot (standard deviation of white), or one of ImageNet-C, "
            "which need photos: imagenet_c.NAME",
        ),
        AfterValidator(_known),
        Distinct,
    ] = ("gaussian", "uniform", "impulse")
    strengths: Strengths = (0.05, 0.1, 0.2, 0.4, 0.8)
    severities: Annotated[
        tuple[Annotated[int, Field(ge=1, le=5)], ...],
        Field(min_length=1, description="severities of imagenet_c kinds, 1 to 5"),
        Distinct,
    ] = (1, 2, 3, 4, 5)
    items: Annotated[int, Field(ge=1, le=10_000, description="images per unit")] = 100


@agentkit.tool(
    name="noise.image",
    version="1",
    metrics=[
        Metric("accuracy", 0, 1),
        Metric("flip_rate", 0, 1, baseline=0, higher_is_better=False),
        Metric("nll", 0, None, higher_is_better=False),
        Metric("linf", 0, 1, baseline=0, higher_is_better=None),
        Metric("l2", 0, None, baseline=0, higher_is_better=None),
    ],
    resources=Resources(cpus=1),
    seconds_per_unit=0.2,
    splits_conditions=True,
    any_device=True,
    controls=["chance"],
)
def noise_image(params: ImageNoise, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Add noise to images and measure how much a classifier still gets right.

    Each unit draws `items` test images and its random numbers once: every strength of a kind uses the same
    ones. `edge_weighted` puts the noise where the image changes, with the plain arm's sum of squares, and the
    plain `gaussian` is always measured beside it. Conditions: `baseline`, `chance` (predictions permuted over
    the items), `KIND=STRENGTH`, `imagenet_c.NAME=SEVERITY`.

    Metrics over the unit's items: `accuracy`, `flip_rate` (class differs from that of the clean image), `nll`
    (mean negative log-likelihood of the label), and the measured strength `linf` (largest change) and `l2`
    (mean Euclidean size of the change). Data without labels have no `accuracy` and no `nll`.
    """
    from agentkit_input_noise import images

    return images.measure(params, units, ctx, noise_image.metrics)
