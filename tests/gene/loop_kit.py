"""What the tests of the closed loop share: a toy library with planted structure, its sources, and its screen."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from agentkit import Unit
from agentkit.errors import TargetUnavailableError
from agentkit_gene.loop.features import Knowledge, build_knowledge
from agentkit_gene.loop.screen import Library, Screen
from agentkit_gene.loop.screen_files import read_shared
from agentkit_gene.loop.sources import Edges, GeneSets, GeneTable, Source, SymbolTable

UNIT = Unit(index=0, seed=11)
UNITS = tuple(Unit(index=i, seed=11 + i) for i in range(3))


def gene(i: int) -> str:
    """GENE000, GENE001, … so that order is plain."""
    return f"GENE{i:03d}"


def toy_sources(genes: int = 200, seed: int = 0) -> list[Source]:
    """Ten-gene modules: a process set and a clique each, a pathway per two modules, noise expression, aliases."""
    rng = np.random.default_rng(seed)
    names = [gene(i) for i in range(genes)]
    modules = [names[i : i + 10] for i in range(0, genes, 10)]
    words = ["cytokine", "lysosome", "ribosome", "splicing", "membrane", "kinase", "lipid", "oxygen"]
    go = {f"{words[m % 8]} Process {m} (GO:{m:07d})": g for m, g in enumerate(modules)}
    path = {f"{words[m % 8]} Pathway WP{m}": modules[m] + modules[m - 1] for m in range(0, len(modules), 2)}
    edges = [(a, "interacts-with", b) for g in modules for a in g for b in g if a < b]
    edges += [
        (names[i], "controls-expression-of", names[j])
        for i, j in rng.integers(0, genes, (genes, 2))
        if i != j
    ]
    tissues = rng.gamma(2.0, 2.0, (genes, 4))
    symbols = SymbolTable(
        names,
        [f"{words[i // 10 % 8]} factor {i}" for i in range(genes)],
        [[f"OLD{i}", f"ALIAS{i // 2}"] for i in range(genes)],
        [f"ENSG{i:011d}" for i in range(genes)],
        rng.integers(0, 90, genes).astype(float).tolist(),
    )
    return [
        GeneSets("go", go),
        GeneSets("path", path),
        Edges("ppi", edges),
        GeneTable("expr", names, ["a", "b", "c", "d"], tissues),
        symbols,
    ]


def toy_screen(genes: int = 200, seed: int = 1, **facts: object) -> Screen:
    """Hits are four whole modules but for a fifth of their genes; task words point at one of them."""
    rng = np.random.default_rng(seed)
    symbols = tuple(gene(i) for i in range(genes))
    hit = np.zeros(genes, dtype=bool)
    for m in (0, 5, 9, 13):
        hit[10 * m : 10 * m + 10] = rng.random(10) < 0.8
    scores = np.where(hit, rng.choice([-3.0, 3.0], genes), 0) + 0.5 * rng.standard_normal(genes)
    settings = {
        "name": "toy",
        "task": "genes that change cytokine output",
        "essential": frozenset(symbols[::7]),
        "study": "toys",
    }
    return Screen(Library(symbols=symbols, **{**settings, **facts}), scores, hit)


@cache
def toy_knowledge(genes: int = 200) -> Knowledge:
    """Knowledge about the toy library."""
    return build_knowledge(toy_screen(genes).library, toy_sources(genes))


def shared_screen(name: str) -> Screen:
    """A shared screen; the test is skipped where they are absent."""
    if "AGENTKIT_SCREEN_DATA" not in os.environ and "AGENTKIT_SHARED_DATA" not in os.environ:
        os.environ["AGENTKIT_SCREEN_DATA"] = str(
            Path(__file__).parents[3] / "shared" / "data" / "gene_screens"
        )
    try:
        return read_shared(name)
    except TargetUnavailableError as error:
        pytest.skip(str(error))
