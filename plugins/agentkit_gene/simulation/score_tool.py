"""The tool `gene.score`: what it takes and measures. The work is in `score_body`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentkit import Context, Metric, Params, Unit, tool
from agentkit_gene.simulation.tools import CPU, VERSION

if TYPE_CHECKING:
    from agentkit import Measurements  # noqa: TC004 - a tool evaluates the annotation of its params only


class SimulatedTruth(BaseModel):
    """A screen to simulate as truth."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Annotated[Literal["KO", "KD", "OE"], Field(description="what is done to each gene")] = "KO"
    value: Annotated[float | None, Field(description="efficacy or fold; 1, 0.8, 3 when left out")] = None
    order: Annotated[Literal[1, 2], Field(description="2: also every pair; then pairs are held out")] = 2
    genes: Annotated[
        Literal["regulators", "all"] | list[str], Field(description="which genes are perturbed")
    ] = "regulators"
    cells: Annotated[int, Field(ge=4, le=100_000, description="cells per type")] = 200


class ScoreParams(Params):
    """Params of `gene.score`."""

    target: Annotated[
        str, Field(description="network that is simulated as truth (grn:…); unused when truth is a file")
    ] = ""
    truth: Annotated[
        SimulatedTruth | str,
        Field(
            description="a screen to simulate, or a file of cells (.npz, .h5ad) with X, perturbation, var_names"
        ),
    ] = SimulatedTruth()
    predictions: Annotated[
        dict[str, str],
        Field(
            default_factory=dict,
            description="name -> .npz with values, perturbation, var_names, scale (delta|expression)",
        ),
    ]
    split: Annotated[
        float, Field(gt=0, lt=1, description="share of the perturbations (pairs, for order 2) held out")
    ] = 0.5
    top: Annotated[int, Field(ge=1, description="genes counted as the most changed")] = 20
    distance: Annotated[Literal["euclidean", "cosine"], Field(description="distance of pds")] = "euclidean"
    max_conditions: Annotated[int, Field(ge=2, le=1_000_000, description="refuse a larger screen")] = 5000


@tool(
    name="gene.score",
    metrics=[
        Metric("delta_pearson", -1, 1),
        Metric("pds", 0, 1),
        Metric("pds_n", 0, 1),
        Metric("mae_delta", 0, None, higher_is_better=False),
        Metric("mse_delta", 0, None, higher_is_better=False),
        Metric("mse_top", 0, None, higher_is_better=False),
        Metric("de_overlap", 0, 1),
        Metric("de_direction", 0, 1),
        Metric("de_recall", 0, 1),
        Metric("de_auroc", 0, 1),
        Metric("de_auprc", 0, 1),
        Metric("lfc_spearman", -1, 1),
        Metric("score_norm", 0, 1),
        Metric("undefined", 0, None, higher_is_better=False),
        Metric("cloud", None, None, higher_is_better=False),
        Metric("network_precision", 0, 1),
        Metric("network_recall", 0, 1),
        Metric("noise_free_mse", 0, None, higher_is_better=False),
    ],
    version=VERSION,
    resources=CPU,
    any_device=True,
)
def score(params: ScoreParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Score predictions of perturbation effects on held-out perturbations, beside baselines that always run.

    Conditions: baseline (the mean of the training effects: the predictor to beat), pred:NAME for each file,
    base:control, base:additive, base:linear, base:ot (linear optimal transport of the control cells), ref:ceiling (one
    half of the true cells against the other). delta_pearson: correlation of predicted and true change over genes; pds:
    how well a prediction is told apart from the other perturbations (0.5 is chance); cloud: energy distance between
    predicted and true cells. With a file as truth, units resample the split of the same data: the verdict is about that
    data set only.
    """
    from agentkit_gene.simulation.score_body import run_score

    return run_score(params, units, ctx)
