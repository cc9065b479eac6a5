"""The tools `attention.explain` and `attention.mask_regions`: which part of an image a classifier goes by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

import agentkit
from agentkit import Context, Metric, Unit

if TYPE_CHECKING:
    from agentkit import Measurements  # noqa: TC004 - an annotation only: importing it would load numpy

Method = Literal["rise", "regions", "occlusion", "gradient"]
METHODS: tuple[Method, ...] = ("rise", "regions", "occlusion", "gradient")
Fill = Literal["zero", "mean", "blur", "grey"]


class OnImages(agentkit.Params):
    """Whose decision, on which images, cut into which regions."""

    target: Annotated[
        str, Field(description="an image classifier (logits), as a target URI: digits:cnn, effnet-lite0:")
    ] = "digits:cnn"
    data: Annotated[
        str,
        Field(
            description="images in [0, 1], as a target URI: digits:, photos: (224 x 224, for effnet-lite0:)"
        ),
    ] = "digits:"
    label: Annotated[
        int | None, Field(ge=0, description="the class explained; each image's predicted class when null")
    ] = None
    grid: Annotated[int, Field(ge=2, le=28, description="regions per side")] = 4
    fill: Annotated[Fill, Field(description="what stands where a region is hidden")] = "blur"
    n: Annotated[int, Field(ge=1, le=64, description="images per unit")] = 4


class Explain(OnImages):
    """Which methods rank the regions."""

    methods: Annotated[
        tuple[Method, ...],
        Field(min_length=1, description="ways to rank the regions"),
    ] = METHODS
    masks: Annotated[int, Field(ge=100, le=8000, description="random masks of RISE, per image")] = 1000
    p: Annotated[float, Field(ge=0.1, le=0.9, description="share of a RISE mask that is shown")] = 0.5


@agentkit.tool(
    name="attention.explain",
    metrics=[Metric("insertion_auc", 0, 1), Metric("deletion_auc", 0, 1, higher_is_better=False)],
    version="1",
    seconds_per_unit=1.0,
    any_device=True,
)
def explain(params: Explain, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Rank the regions of images by several methods and measure how faithful each ranking is, against chance.

    Conditions: `baseline` (regions in random order) and one per method: `rise` (arXiv 1806.07421), `regions`
    (greedy search after arXiv 2411.16198: what keeps the class alone and kills it when removed), `occlusion`
    (drop when one region is hidden) and `gradient` (gradient times distance from the fill).
    Metrics: `insertion_auc`, the area under the class probability while regions are revealed in that order over
    the fill (higher is better), and `deletion_auc` while they are hidden (lower is better). Both measure
    faithfulness to this model under this fill, not truth about the picture.
    """
    from agentkit_attention.explain_run import run_explain

    return run_explain(params, units, ctx)


class MaskRegions(OnImages):
    """Single regions, or random shares of them."""

    share: Annotated[
        tuple[float, ...], Field(description="shares of the regions to hide; every region alone when empty")
    ] = ()

    @model_validator(mode="after")
    def _shares_are_shares(self) -> MaskRegions:
        if len(set(self.share)) != len(self.share) or not all(0 <= s <= 1 for s in self.share):
            raise ValueError(f"share {list(self.share)}: distinct numbers from 0 to 1")
        return self


@agentkit.tool(
    name="attention.mask_regions",
    metrics=[
        Metric("p_class", 0, 1),
        Metric("kept_label", 0, 1, baseline=1),
        Metric("average_drop", 0, 1, baseline=0, higher_is_better=False),
        Metric("increase", 0, 1, baseline=0),
    ],
    version="1",
    seconds_per_unit=0.1,
    any_device=True,
)
def mask_regions(params: MaskRegions, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Hide regions of images and measure what a classifier still says.

    Conditions: `baseline` (whole image), and one per region (`R1C2`: row 1, column 2) or per share (`share=0.5`:
    that share of the regions hidden, nested and in a random order per image). Metrics, means over the unit's
    images: `p_class` (probability of the class), `kept_label` (is it still the likeliest?), `average_drop`
    (mean of max(0, (f(x) - f(hidden)) / f(x))) and `increase` (share of images whose probability rose).
    """
    from agentkit_attention.explain_run import run_mask

    return run_mask(params, units, ctx)
