"""The tools `gene.perturb`, `gene.screen` and `gene.map`: what they take and measure. The work is in `bodies`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from agentkit import Context, Metric, Params, Resources, Tool, Unit, tool
from agentkit_gene.simulation.params import SimulationParams

if TYPE_CHECKING:
    from agentkit import Measurements  # noqa: TC004 - a tool evaluates the annotation of its params only

VERSION = "1"
CPU = Resources(cpus=1, gpus=0, memory=2 << 30)

LEVEL = Metric("level", 0, None, higher_is_better=None)
LEVEL_REL = Metric("level_rel", 0, 1, higher_is_better=None)
FRAC_ON = Metric("frac_on", 0, 1, higher_is_better=None)
ZERO_FRAC = Metric("zero_frac", 0, 1, higher_is_better=None)
FANO = Metric("fano", 0, None, higher_is_better=None)
SHIFT = Metric("shift", baseline=0, higher_is_better=None)
MMD = Metric("mmd", baseline=0, higher_is_better=None)
AFFECTED = Metric("affected", 0, 1, baseline=0, higher_is_better=None)
BOUNDARY = Metric("boundary", 0, 1, higher_is_better=False)
EPISTASIS = Metric("epistasis", baseline=0, higher_is_better=None)
DESCENDANTS = Metric("descendants", 0, 1, baseline=0, higher_is_better=None)
OUT_DEGREE = Metric("out_degree", 0, None, baseline=0, higher_is_better=None)


class PerturbParams(SimulationParams):
    """Params of `gene.perturb`."""

    perturb: Annotated[
        list[str],
        Field(
            min_length=1,
            description="conditions: KO:A, KD:A@0.7 (efficacy), KD:A@0.7~0.8 (in a share of cells), OE:A@3 (fold), OE:A@+5 "
            "(rate), CLAMP:A@2, CUT:A>B@0.5, DRUG:A>B@K*0.5, DRUG:A>B@h*4, joined by + (KO:A+KO:B)",
        ),
    ]
    readout: Annotated[str | list[str], Field(description="gene read, or several (averaged)")]
    threshold: Annotated[
        float | None,
        Field(ge=0, description="level above which a cell is on; the gene's half response when left out"),
    ] = None
    save: Annotated[Literal["none", "moments", "cells"], Field(description="what to keep as an artifact")] = (
        "none"
    )


class ScreenParams(SimulationParams):
    """Params of `gene.screen`."""

    kind: Annotated[Literal["KO", "KD", "OE"], Field(description="what is done to each gene")] = "KO"
    value: Annotated[
        float | None, Field(description="efficacy (KO, KD) or fold (OE); 1, 0.8, 3 when left out")
    ] = None
    order: Annotated[Literal[1, 2], Field(description="1: every gene; 2: also every pair of them")] = 1
    genes: Annotated[
        Literal["regulators", "all"] | list[str], Field(description="which genes are perturbed")
    ] = "regulators"
    readout: Annotated[str | list[str], Field(description="gene read, or several (averaged)")]
    threshold: Annotated[float | None, Field(ge=0, description="level above which a cell is on")] = None
    cells: Annotated[int, Field(ge=2, le=100_000, description="cells per type and unit")] = 50
    max_conditions: Annotated[int, Field(ge=1, le=1_000_000, description="refuse a larger screen")] = 5000
    save: Annotated[
        Literal["none", "cells"], Field(description="cells: keep the counts of every condition")
    ] = "none"


class MapParams(Params):
    """Params of `gene.map`."""

    target: Annotated[str, Field(description="network: grn:NAME, grn:scalefree?genes=100&seed=3 or grn:PATH")]
    kind: Annotated[Literal["KO", "KD", "OE"], Field(description="what is done to each gene")] = "KO"
    value: Annotated[float | None, Field(description="efficacy or fold; 1, 0.8, 3 when left out")] = None
    genes: Annotated[
        Literal["regulators", "all"] | list[str], Field(description="which genes are perturbed")
    ] = "regulators"
    readout: Annotated[
        str | list[str] | None, Field(description="gene read for level_rel; all genes averaged when left out")
    ] = None
    layers: Annotated[
        Literal["mrna", "mrna+protein", "unspliced+spliced"], Field(description="species per gene")
    ] = "mrna"
    max_conditions: Annotated[int, Field(ge=1, le=1_000_000, description="refuse a larger map")] = 5000


@tool(
    name="gene.perturb",
    metrics=[LEVEL, LEVEL_REL, FRAC_ON, ZERO_FRAC, FANO, SHIFT, MMD, AFFECTED, BOUNDARY],
    version=VERSION,
    resources=CPU,
    splits_conditions=True,
    any_device=True,
)
def perturb(params: PerturbParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Simulate single cells of a gene network with and without perturbations and read some genes.

    A unit is one seeded set of cells; every condition sees the same noise, so differences are sharp. Conditions are
    the strings in `perturb`, as written. Metrics, over the cells of a unit: level (mean copies), level_rel
    (m / (m + m0): 0.5 is unchanged, bounded, the best to register), frac_on (share of cells above threshold),
    zero_frac, fano, shift (energy distance of the whole cloud to the baseline's), mmd, affected (share of genes moved
    by a quarter of a doubling), boundary (how often `cle` hit 0: above 1e-4, low genes are biased).
    """
    from agentkit_gene.simulation.bodies import run_perturb

    return run_perturb(params, units, ctx)


@tool(
    name="gene.screen",
    metrics=[LEVEL_REL, FRAC_ON, SHIFT, AFFECTED, EPISTASIS],
    version=VERSION,
    resources=CPU,
    splits_conditions=True,
    any_device=True,
)
def screen(params: ScreenParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Perturb every gene (and every pair) of a network and read one gene: which ones matter, which pairs interact.

    Conditions are KIND:GENE, and for order 2 also KIND:A+KIND:B with A before B. Epistasis of a pair is
    delta_AB - delta_A - delta_B of the readout's mean log(1 + level), and 0 for singles. A gene that cannot reach the
    readout gives exactly the baseline's value.
    """
    from agentkit_gene.simulation.bodies import run_screen

    return run_screen(params, units, ctx)


@tool(
    name="gene.map",
    metrics=[DESCENDANTS, OUT_DEGREE, LEVEL_REL],
    version=VERSION,
    resources=CPU,
    explore_only=True,
    splits_conditions=True,
)
def effect_map(params: MapParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Noise-free effect of perturbing each gene on every gene: a fast map to choose what to simulate.

    The same value at every unit, so it is exploration only. descendants: share of genes whose level changes.
    """
    from agentkit_gene.simulation.bodies import run_map

    return run_map(params, units, ctx)


TOOLS: tuple[Tool, ...] = (perturb, screen, effect_map)
