"""The targets `graph:` (bipartite graphs) and `linker:` (link predictors)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import agentkit
from agentkit.errors import TargetError, unknown

BLOCKS = "blocks"


def graph_fingerprint(rest: str) -> str:
    """Hash of the made graph, or of the file's bytes."""
    if rest == BLOCKS:
        from agentkit_input_noise import graph

        return graph.content_hash(graph.blocks())
    if not rest or not Path(rest).is_file():
        raise TargetError(
            unknown("graph", f"graph:{rest}", ["graph:blocks"], hint="A file works too: graph:EDGES.csv.")
        )
    return hashlib.sha256(Path(rest).read_bytes()).hexdigest()


@agentkit.target("graph", fingerprint=graph_fingerprint)
def graph(rest: str, device: str) -> Any:
    """graph:blocks, a made graph of 300 x 200 nodes in planted groups; graph:FILE.csv reads source,target[,type,type]."""
    from agentkit_input_noise.graph import blocks, from_file

    graph_fingerprint(rest)
    return blocks() if rest == BLOCKS else from_file(Path(rest))


def linker_fingerprint(rest: str) -> str:
    """The predictor's name and version: it has no weights."""
    if rest != "propagation":
        raise TargetError(unknown("link predictor", f"linker:{rest}", ["linker:propagation"]))
    return "linker:propagation 1"


@agentkit.target("linker", fingerprint=linker_fingerprint)
def linker(rest: str, device: str) -> Any:
    """linker:propagation, a link predictor by neighbours of neighbours and similar features; nothing is trained."""
    from agentkit_input_noise.graph import Propagation

    linker_fingerprint(rest)
    return Propagation()
