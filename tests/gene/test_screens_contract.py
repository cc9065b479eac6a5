"""The house's contract kit on the screen tools, called as a worker would."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from agentkit.testing import ToolCase
from agentkit_gene.loop.ranks import keyed_normals
from agentkit_gene.screens.tools import features as features_tool
from agentkit_gene.screens.tools import loop as loop_tool
from agentkit_gene.screens.tools import next_batch as next_tool

SIM = "screen:sim?genes=300&seed=3"
GENES = tuple(f"G{i}" for i in range(24))
RESULTS: list[dict[str, Any]] = [
    {"gene": gene, "score": float(score), "hit": bool(abs(score) > 1.2)}
    for gene, score in zip(GENES, keyed_normals(GENES, 5), strict=True)
]


class TestLoop(ToolCase):
    tool = loop_tool
    params: ClassVar = {
        "target": SIM,
        "rounds": 2,
        "batch": 12,
        "pickers": ["trees", "prior+ens!permuted", "prior+ens"],
    }


class TestLoopOverNetworks(ToolCase):
    tool = loop_tool
    params: ClassVar = {
        "target": "screen:sim?genes=200&seed=unit",
        "rounds": 2,
        "batch": 8,
        "feedback": "score",
    }
    n_units = 2


class TestNext(ToolCase):
    tool = next_tool
    params: ClassVar = {"target": SIM, "results": RESULTS, "batch": 10, "feedback": "hit"}
    n_units = 2


class TestFeatures(ToolCase):
    tool = features_tool
    params: ClassVar = {"target": SIM}
    n_units = 2


def test_the_results_of_the_case_can_teach() -> None:
    assert 2 <= sum(r["hit"] for r in RESULTS) < len(RESULTS)
    assert np.isfinite([r["score"] for r in RESULTS]).all()
