"""The tool `noise.certify`: which images keep their class under every noise of a given size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit
from agentkit_input_noise.sweep import Distinct

MOST_RADII = 64
GUESS_DRAWS = {"sequential": 32, "fixed": 100}


def _ascending(radii: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted(radii))


class Certify(Params):
    """Which classifier is smoothed, by how much noise, and what is to be certified."""

    target: Annotated[str, Field(description="classifier: URI of a callable from images to logits")] = (
        "digits:cnn"
    )
    data: Annotated[str, Field(description="labelled images in [0, 1]: URI of a data set")] = "digits:"
    radii: Annotated[
        tuple[Annotated[float, Field(gt=0, le=16)], ...],
        Field(
            min_length=1, max_length=MOST_RADII, description="L2 radii to certify; baseline is radius zero"
        ),
        Distinct,
        AfterValidator(_ascending),
    ] = (0.1, 0.25, 0.4)
    sigma: Annotated[float, Field(ge=0.01, le=2, description="standard deviation of the smoothing noise")] = (
        0.25
    )
    alpha: Annotated[float, Field(ge=1e-6, le=0.1, description="error level of one item's certificate")] = (
        0.001
    )
    mode: Annotated[
        Literal["sequential", "fixed"],
        Field(description="sequential: stop when the question is decided; fixed: Cohen's n draws"),
    ] = "sequential"
    n0: Annotated[
        int | None,
        Field(ge=1, le=10_000, description="draws to guess the class; null: 32 sequential, 100 fixed"),
    ] = None
    n: Annotated[int, Field(ge=100, le=1_000_000, description="draws of mode fixed")] = 1_000
    cap: Annotated[int, Field(ge=100, le=1_000_000, description="most draws of mode sequential")] = 10_000
    block: Annotated[int, Field(ge=8, le=1_024, description="draws between two looks")] = 32
    items: Annotated[int, Field(ge=1, le=10_000, description="images per unit")] = 100

    @property
    def guess_draws(self) -> int:
        """Draws that the class is guessed from."""
        return GUESS_DRAWS[self.mode] if self.n0 is None else self.n0

    @property
    def most_draws(self) -> int:
        """Fresh draws after which an item is left."""
        return self.cap if self.mode == "sequential" else self.n


@agentkit.tool(
    name="noise.certify",
    version="1",
    metrics=[
        Metric("certified", 0, 1),
        Metric("undecided", 0, 1, baseline=0, higher_is_better=False),
        Metric("forwards_per_item", 0, None, higher_is_better=False),
        Metric("mean_radius", 0, None, baseline=0),
    ],
    resources=Resources(cpus=1),
    seconds_per_unit=1.0,
    any_device=True,
)
def noise_certify(params: Certify, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Certify by randomised smoothing that no change up to an L2 radius alters an image's class.

    Each unit draws `items` test images and one stream of Gaussian noise that all of them share. `sequential`
    looks every `block` draws at anytime-valid evidence and stops as soon as the radius is certified or out of
    reach; it walks up `radii` on the same draws. `fixed` is Cohen's procedure with `n` draws. Conditions:
    `baseline` (radius zero: the plain classifier's prediction) and `r=RADIUS`.

    Metrics over the unit's items: `certified` (certified at the radius and right), `undecided` (neither
    certified nor refused when the draws ended; counts as not certified), `forwards_per_item` (forward passes
    until this radius was decided) and `mean_radius` (largest certified radius up to this one; 0 where wrong).
    The certificate holds at level `alpha` per item, for the smoothed classifier, in L2; not for all items at
    once and not for the plain classifier.
    """
    from agentkit_input_noise import certify

    return certify.measure(params, units, ctx, noise_certify.metrics)
