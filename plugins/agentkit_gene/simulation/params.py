"""The params shared by every simulating tool, and how they become a plan."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentkit import Params
from agentkit_gene.simulation.errors import UnsafeStepError

if TYPE_CHECKING:
    from agentkit_gene.simulation.engine import Plan
    from agentkit_gene.simulation.network import Network

LEAP_LIMIT = 0.32
"""Largest decay x dt of `leap`: below it regulated genes are within 1-2 % of the exact law."""

CLE_SAFE_DT = 0.01
BOUNDARY_LIMIT = 1e-4


class Technical(BaseModel):
    """Technical noise of droplet sequencing, in SERGIO's order: outlier genes, library size, dropout, counting."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    outlier_prob: Annotated[float, Field(ge=0, le=1, description="chance that a gene is an outlier")] = 0.01
    outlier_mean: Annotated[float, Field(description="mean of log outlier factor")] = 0.8
    outlier_sd: Annotated[float, Field(ge=0, description="sd of log outlier factor")] = 1.0
    library_mean: Annotated[float, Field(description="mean of log total counts a cell")] = 4.6
    library_sd: Annotated[float, Field(ge=0, description="sd of log total counts")] = 0.4
    library: Annotated[
        Literal["compositional", "factor"],
        Field(
            description="compositional: a cell's total is set, so a knock-out shifts other genes, as in real data; "
            "factor: multiply by total / wild-type mean total, so it does not"
        ),
    ] = "compositional"
    dropout_shape: Annotated[float, Field(gt=0, description="steepness of dropout in log(1+x)")] = 6.5
    dropout_percentile: Annotated[
        float, Field(ge=0, le=100, description="percentile of log(1+x) at which half is dropped")
    ] = 82.0


class SimulationParams(Params):
    """What every simulating tool takes."""

    target: Annotated[str, Field(description="network: grn:NAME, grn:scalefree?genes=100&seed=3 or grn:PATH")]
    physics: Annotated[
        Literal["leap", "cle", "ode", "lna"],
        Field(
            description="leap: birth-death counts (default); cle: chemical Langevin; ode: noise-free; lna: linear noise. "
            "ode and lna give the same value for every unit: explore with them, do not register them"
        ),
    ] = "leap"
    dt: Annotated[float | None, Field(gt=0, description="time step; chosen when left out")] = None
    q: Annotated[float, Field(gt=0, le=5, description="noise amplitude of cle and lna")] = 1.0
    noise: Annotated[Literal["dpd", "sp", "spd"], Field(description="noise form of cle and lna")] = "dpd"
    layers: Annotated[
        Literal["mrna", "mrna+protein", "unspliced+spliced"],
        Field(description="species per gene; with proteins, regulators act through them"),
    ] = "mrna"
    burn_in: Annotated[
        float | None, Field(gt=0, description="time before cells are read; 15 / smallest decay")
    ] = None
    sampling: Annotated[
        Literal["independent", "spaced", "trajectory"],
        Field(
            description="independent: one chain a cell; spaced: 64 chains a type read every 3/decay; trajectory: one"
        ),
    ] = "independent"
    crn: Annotated[bool, Field(description="all conditions share their noise")] = True
    sergio_compat: Annotated[
        bool,
        Field(
            description="SERGIO's scheme (cle, Euler, dt 0.01, clamp, one trajectory), with its bias at low levels"
        ),
    ] = False
    cells: Annotated[int, Field(ge=2, le=100_000, description="cells per type and unit")] = 200
    types: Annotated[Literal["all"] | list[int], Field(description="cell types by number, or all")] = "all"
    start: Annotated[
        float, Field(ge=0, description="time at which perturbations begin, from the wild type")
    ] = 0.0
    technical: Annotated[Technical | None, Field(description="technical noise; none when left out")] = None


def plan_of(params: SimulationParams, network: Network) -> Plan:
    """The engine's plan for these params on this network.

    Raises:
        UnsafeStepError: `leap` with q other than 1 or too long a step.
    """
    from agentkit_gene.simulation.engine import Plan

    decays = _decays(network, params.layers)
    fastest, slowest = max(decays), min(decays)
    compat = params.sergio_compat
    kernel = "cle" if compat else params.physics
    burn_in = params.burn_in or 15 / slowest
    if params.start >= burn_in:
        raise UnsafeStepError(
            f"start {params.start:g} is not before burn_in {burn_in:g}: cells would show no perturbation"
        )
    return Plan(
        kernel=kernel,
        dt=CLE_SAFE_DT if compat else _step(params, kernel, fastest),
        burn_in=burn_in,
        cells=params.cells,
        types=_types(params, network),
        start=params.start,
        sampling="trajectory" if compat else params.sampling,
        q=params.q,
        form=params.noise,
        euler=compat,
        shared=params.crn,
    )


def _decays(network: Network, layers: str) -> list[float]:
    from agentkit_gene.simulation.model import SPLICE_RATIO

    found = [g.decay for g in network.genes]
    if layers == "mrna+protein":
        found += [g.protein_decay or g.decay for g in network.genes]
    if layers == "unspliced+spliced":
        found += [g.decay / SPLICE_RATIO for g in network.genes]
    return found


def _step(params: SimulationParams, kernel: str, fastest: float) -> float:
    if kernel != "leap":
        return params.dt or CLE_SAFE_DT
    if params.q != 1:
        raise UnsafeStepError(
            f"leap counts molecules, so q is 1, got {params.q:g}; use physics cle to scale the noise"
        )
    dt = params.dt or min(0.2, 0.16 / fastest)
    if fastest * dt > LEAP_LIMIT * (1 + 1e-9):
        raise UnsafeStepError(
            f"leap with dt {dt:g}: decay x dt is {fastest * dt:.3g}, above {LEAP_LIMIT}; use dt <= {LEAP_LIMIT / fastest:.4g}"
        )
    return dt


def _types(params: SimulationParams, network: Network) -> tuple[int, ...]:
    from agentkit.errors import ParamError

    known = range(len(network.types))
    chosen = tuple(known) if params.types == "all" else tuple(sorted(set(params.types)))
    if not chosen or any(t not in known for t in chosen):
        raise ParamError(f"types {list(chosen)}: {network.name!r} has types 0 to {len(known) - 1}")
    return chosen


def refuse_boundary(share: float, plan: Plan) -> None:
    """Refuse a long `cle` step whose clamp at 0 was hit too often: its means would be wrong.

    Raises:
        UnsafeStepError: naming the share and the remedy.
    """
    if (
        plan.kernel == "cle"
        and plan.dt > CLE_SAFE_DT * (1 + 1e-9)
        and share > BOUNDARY_LIMIT
        and math.isfinite(share)
    ):
        raise UnsafeStepError(
            f"cle with dt {plan.dt:g}: {share:.2g} of all steps hit the clamp at 0 (limit {BOUNDARY_LIMIT:g}), "
            f"so low genes are biased; use dt <= {CLE_SAFE_DT} or physics leap"
        )
