"""DREAM4's noise-free double knock-outs: which pair a row stands for, and how far our steady state is from it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agentkit_gene.simulation.model import Model, build_model
from agentkit_gene.simulation.perturbation import Part, Perturbation
from agentkit_gene.simulation.readers import read_network
from agentkit_gene.simulation.steady import Deterministic, rest

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One row of a file: the best pair of genes, its largest error, and the next best pair's."""

    pair: tuple[str, str]
    error: float
    next_error: float


def knocked_out(model: Model, pairs: list[tuple[str, str]]) -> np.ndarray:
    """mRNA steady states of double knock-outs, (pairs, genes), reached from the wild type's last state.

    One of the wild types oscillates, so every condition gets all its genes and the baseline's rows are held.
    """
    perturbations = [Perturbation(tuple(sorted(Part(g, "", "KO", 1.0) for g in p))) for p in pairs]
    program = model.program(model.effects(perturbations), everything=True)
    held = np.where(program.condition == 0, model.start[program.gene, 0], program.clamp)
    equations = Deterministic(replace(program, clamp=held), 1, layered=True)
    found = rest(equations, model.start[program.gene], cyclic=True)
    levels = np.full((len(pairs), program.n_genes), np.nan)  # NaN: the pair leaves the oscillation on
    for c, row_of in enumerate(program.row_of[1:]):
        for gene, row in row_of.items() if found.settled[c + 1] else ():
            levels[c, gene] = found.level[row, 0]
    return levels


def rows_of(network_file: Path, truth_file: Path) -> tuple[float, list[Row]]:
    """(the network's one scale, rows). The file does not say which genes are out: the pair that fits best is taken.

    Candidates are all pairs of a small network; in a large one, pairs of genes whose value is about 0 in the row
    (a knock-out leaves exactly that).
    """
    model = build_model(read_network(network_file, {}), "mrna+protein")
    lines = truth_file.read_text().splitlines()
    truth = np.array([[float(x) for x in line.split()] for line in lines if line.strip()])
    names = model.network.names
    small = len(names) <= 10
    candidates = [
        list(itertools.combinations([n for n, v in zip(names, row, strict=True) if small or v < 1e-4], 2))
        for row in truth
    ]
    pairs = sorted({p for c in candidates for p in c})
    levels = {p: x for p, x in zip(pairs, knocked_out(model, pairs), strict=True) if np.isfinite(x).all()}
    candidates = [[p for p in c if p in levels] for c in candidates]
    scale = _scale(truth, [[levels[p] for p in c] for c in candidates])
    found = []
    for row, chosen in zip(truth, candidates, strict=True):
        errors = sorted((float(np.abs(scale * levels[p] - row).max()), p) for p in chosen)
        found.append(Row(errors[0][1], errors[0][0], errors[1][0] if len(errors) > 1 else float("inf")))
    return scale, found


def _scale(truth: np.ndarray, levels: list[list[np.ndarray]]) -> float:
    """The constant between our levels and the file's: the median ratio over genes, best pair by row."""
    ratios = []
    for row, states in zip(truth, levels, strict=True):
        best = min(states, key=lambda x: _misfit(row, x))
        keep = best > 0.05
        ratios.append(np.median(row[keep] / best[keep]))
    return float(np.median(ratios))


def _misfit(row: np.ndarray, x: np.ndarray) -> float:
    factor = float(row @ x / (x @ x))
    return float(np.abs(factor * x - row).max())
