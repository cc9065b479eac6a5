"""The tools `attention.probe_layers` and `attention.probe_edit`: what hidden states know, and moving them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

import agentkit
from agentkit import Context, Metric, Unit

if TYPE_CHECKING:
    from agentkit import Measurements  # noqa: TC004 - an annotation only: importing it would load numpy


class ProbeLayers(agentkit.Params):
    """Whose hidden states, which labels, which layers."""

    target: Annotated[str, Field(description="a text model, as a target URI")] = "minilm:"
    data: Annotated[str, Field(description="labelled texts, as a target URI")] = "addresses:"
    labels: Annotated[
        str | None,
        Field(description="a word tag: does the text hold a word tagged so? The data's own labels when null"),
    ] = "OccupancyType"
    layers: Annotated[str, Field(description="layers by name or pattern: L*, 'L0 L5'")] = "L*"
    pool: Annotated[
        Literal["mean", "last", "cls"], Field(description="which token's state stands for the text")
    ] = "mean"
    C: Annotated[float, Field(ge=1e-4, le=1e4, description="inverse strength of the probe's penalty")] = 1.0
    n: Annotated[int, Field(ge=20, le=4096, description="texts per unit")] = 160
    test: Annotated[float, Field(ge=0.1, le=0.5, description="share of the texts held out")] = 0.3


@agentkit.tool(
    name="attention.probe_layers",
    metrics=[
        Metric("accuracy", 0, 1),
        Metric("nll", 0, higher_is_better=False),
        Metric("v_info", baseline=0),
    ],
    version="1",
    seconds_per_unit=3.0,
    any_device=True,
)
def probe_layers(params: ProbeLayers, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Measure what a linear probe can read from each layer of an unchanged text model.

    Each unit draws texts and a split of its own, and fits a multinomial logistic regression per layer on the
    standardised hidden states.

    Conditions: `baseline` (class frequencies of the training texts), one per layer (`L3`: the output of block 3)
    and `shuffled:L3` (the same probe fitted on shuffled labels: what the procedure finds in nothing). Metrics on
    held-out texts: accuracy, nll in nats, and v_info = nll of the class frequencies - nll of the probe.
    """
    from agentkit_attention.probe_run import run_layers

    return run_layers(params, units, ctx)


class ProbeEdit(ProbeLayers):
    """Which class the hidden states are moved towards, and how far."""

    label: Annotated[str, Field(description="the class to move towards")] = "yes"
    n: Annotated[int, Field(ge=20, le=4096, description="texts per unit")] = 240
    p_star: Annotated[float, Field(ge=0.5, le=0.99, description="wanted probability")] = 0.9
    min_acc: Annotated[float, Field(ge=0.5, le=1, description="accuracy a layer's probe must reach")] = 0.8
    max_norm: Annotated[
        float | None, Field(gt=0, description="largest relative displacement; further items stay unedited")
    ] = None
    max_iter: Annotated[int, Field(ge=1, le=1000, description="steps per item")] = 60

    @model_validator(mode="after")
    def _one_pool_that_can_be_edited(self) -> ProbeEdit:
        if self.labels is not None and self.label not in ("yes", "no"):
            raise ValueError(f"label {self.label!r}: with a tag the classes are 'yes' and 'no'")
        return self


@agentkit.tool(
    name="attention.probe_edit",
    metrics=[
        Metric("p_target", 0, 1),
        Metric("judge", 0, 1),
        Metric("reached", 0, 1),
        Metric("relative_norm", 0, baseline=0, higher_is_better=None),
    ],
    version="1",
    seconds_per_unit=4.0,
    any_device=True,
)
def probe_edit(params: ProbeEdit, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Move hidden states at one layer until a probe says the wanted class, and see whether later layers agree.

    Each unit fits two sets of probes on disjoint texts: one that the edit climbs, and a judge on the last layer.
    The held-out texts below `p_star` are edited in the middle of the unchanged model (arXiv 2504.10227,
    generalised to several classes), and the rest of the model runs on.

    Conditions: `baseline` (no edit) and one per layer. Metrics, means over the edited texts: `p_target` (climbed
    probe, at the edited layer), `judge` (probability of the class for the judge, on the last layer), `reached`
    (share whose probability arrived at p_star; the others stay unedited) and `relative_norm` (displacement over
    the size of the state).
    """
    from agentkit_attention.probe_run import run_edit

    return run_edit(params, units, ctx)
