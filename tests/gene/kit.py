"""What the tests of the gene plugin share: a context without workers, units, small networks, where the data are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from agentkit import Measurements, Tool, Unit
from agentkit.workers.artifacts import ArtifactStore
from agentkit_gene.simulation.engine import Cells, Plan, simulate
from agentkit_gene.simulation.model import Model, build_model
from agentkit_gene.simulation.network import Edge, Gene, Network
from agentkit_gene.simulation.perturbation import parse_perturbation
from agentkit_gene.simulation.target import grn, load_network

UNITS = tuple(Unit(index=i, seed=1000 + i) for i in range(4))


class Bench:
    """A context that keeps artifacts in a folder and loads only `grn:` targets."""

    device = "cpu"
    batch = None
    cancelled = False

    def __init__(self, conditions: frozenset[str] | None = None) -> None:
        self.conditions = conditions
        self.workdir = Path(tempfile.mkdtemp())
        self.ticks: list[tuple[int, int]] = []
        self.files: dict[str, Path] = {}

    def target(self, uri: str) -> Any:
        return grn.load(uri.partition(":")[2], "cpu")

    def progress(self, done: int, total: int) -> None:
        self.ticks.append((done, total))

    def artifact(self, name: str, value: Any) -> str:
        stored = ArtifactStore(self.workdir).put(name, value)
        self.files[name] = self.workdir / stored.file
        return stored.sha256

    def keep(self, unit: Unit, name: str, arrays: Any) -> None:
        """Forgets at once."""

    def kept(self, unit: Unit, name: str) -> None:
        return None

    def wants(self, condition: str) -> bool:
        return condition == "baseline" or self.conditions is None or condition in self.conditions


def run(
    tool: Tool, units: tuple[Unit, ...] = UNITS[:1], bench: Bench | None = None, **params: Any
) -> Measurements:
    """A tool's table, checked against its declaration."""
    table = tool(tool.parse(params), units, bench or Bench())
    tool.check(table, units)
    for metric in table.metrics:
        values = table.array(metric)
        assert all(tool.metric(metric).contains(v, 1e-12) for v in values[np.isfinite(values)])
    return table


def constitutive(mean: float, decay: float = 0.8) -> Model:
    """One gene made at a constant rate."""
    return build_model(Network("one", (Gene("A", decay=decay, basal=(mean * decay,)),)))


def activated_and_repressed() -> Network:
    """A activates B (K 3) and represses E (K 2), decay 0.8; A is made at rate 2."""
    return Network(
        "ko",
        (
            Gene("A", 0.8, (2.0,)),
            Gene("B", 0.8, (0.0,), (Edge("A", 3.0),)),
            Gene("E", 0.8, (0.0,), (Edge("A", -2.0),)),
            Gene("Z", 0.8, (0.0,)),
        ),
    )


def cells_of(
    model: Model,
    perturbations: list[str] | None = None,
    seed: int = 7,
    *,
    columns: int | None = None,
    **plan: Any,
) -> Cells:
    """Cells of the baseline and some conditions."""
    effects = model.effects([parse_perturbation(p) for p in perturbations or []])
    everything = plan.pop("everything", False)
    settings = {"kernel": "leap", "dt": 0.2, "burn_in": 18.75, "cells": 64, "types": (0,)} | plan
    return simulate(
        model, model.program(effects, everything=everything), Plan(**settings), seed, columns=columns
    )


def shipped(name: str, layers: str = "mrna") -> Model:
    """The model of a shipped network."""
    return build_model(load_network(name), layers)


def shared_data(part: str) -> Path:
    """A folder or file of the reference networks; the test is skipped where they are absent."""
    base = Path(os.environ.get("AGENTKIT_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    folder = Path(os.environ.get("AGENTKIT_GRN_DATA", base / "grn"))
    if not (folder / part).exists():
        pytest.skip(f"GRN reference data not found at {folder / part}; set AGENTKIT_GRN_DATA")
    return folder / part


def chi_square(x: np.ndarray, law: Any) -> float:
    """p-value against a discrete law, cells of expectation below 5 merged at both ends."""
    top = int(max(x.max(), law.ppf(1 - 1e-9))) + 1
    expected = law.pmf(np.arange(top + 1)) * len(x)
    seen = np.bincount(x.astype(int), minlength=top + 1).astype(float)
    keep = np.flatnonzero(expected >= 5)
    low, high = keep[0], keep[-1]
    e = (
        np.array([expected[: low + 1].sum(), *expected[low + 1 : high], expected[high:].sum()])
        if high > low
        else None
    )
    if e is None:
        return 1.0
    s = np.array([seen[: low + 1].sum(), *seen[low + 1 : high], seen[high:].sum()])
    return float(stats.chisquare(s, e * s.sum() / e.sum()).pvalue)
