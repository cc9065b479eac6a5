"""The tool `noise.graph`: what a recommender or link predictor finds when its graph is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit
from agentkit_input_noise.sweep import Distinct, Strengths

RANK_KIND = "svd_rank"


class GraphNoise(Params):
    """Which graph is perturbed, how, and how strongly."""

    target: Annotated[str, Field(description="link predictor: URI of an object with score(graph, …)")] = (
        "linker:propagation"
    )
    data: Annotated[
        str,
        Field(description="bipartite graph: graph:blocks, or graph:FILE.csv of source,target[,type,type]"),
    ] = "graph:blocks"
    kinds: Annotated[
        tuple[Literal["edge_drop", "edge_add", "feature_mask", "type_swap", "svd_rank"], ...],
        Field(
            min_length=1,
            description="edge_drop: missing edges; edge_add: false edges; feature_mask: masked features (set to "
            "zero); type_swap: trade ends (edges of the same types do); svd_rank: rank view (the low-rank view of the graph)",
        ),
        Distinct,
    ] = ("edge_drop", "edge_add")
    strengths: Strengths = (0.1, 0.2, 0.4, 0.6, 0.8)
    ranks: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1_000)], ...],
        Field(min_length=1, max_length=16, description="ranks of svd_rank"),
        Distinct,
    ] = (5, 10, 20)
    k: Annotated[int, Field(ge=1, le=1_000, description="how many suggestions a node gets")] = 20
    items: Annotated[int, Field(ge=1, le=10_000, description="edges hidden per unit, to be found again")] = (
        200
    )


@agentkit.tool(
    name="noise.graph",
    version="1",
    metrics=[
        Metric("recall_at_k", 0, 1),
        Metric("link_auc", 0, 1),
        Metric("edit_rate", 0, 1, baseline=0, higher_is_better=None),
    ],
    resources=Resources(cpus=1),
    seconds_per_unit=0.5,
    splits_conditions=True,
    controls=["chance"],
)
def noise_graph(params: GraphNoise, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Drop, add or swap edges of a graph, or cut its rank, and measure how well missing links are still predicted.

    Each unit hides `items` edges (never a node's last one) and perturbs what is left: a share of its edges is
    dropped, false ones are added, or pairs of edges trade ends so that every degree and every pair of node types
    stays; edits are nested in strength. Conditions: `baseline`, `chance` (scores permuted), `KIND=STRENGTH` and
    `svd_rank=RANK` (singular vectors of the normalised adjacency, as in LightGCL's view).

    Metrics over the hidden edges: `recall_at_k` (the hidden neighbour is among the k best suggestions),
    `link_auc` (a hidden edge scores higher than a pair that is no edge) and `edit_rate` (measured share of
    edges or feature values that was edited; of `svd_rank`, the share of the graph's norm that it loses).
    """
    from agentkit_input_noise import links

    return links.measure(params, units, ctx, noise_graph.metrics)
