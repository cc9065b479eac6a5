"""Which genes the task's own words point to, before any result.

idf(t)   = ln(S / (1 + sets whose name holds t))
sim(s)   = sum over shared words of idf(t) / sqrt(1 + words of the set's name), over its maximum
text(g)  = sum over sets of g of sim^3 / sqrt(size + 5); genes that the task names get the maximum
general  = rank(ln(1+degree)) + rank(ln(1+go sets)) + rank(ln(1+path sets)) + rank(mean expression)
prior    = rank(rank(text) + 0.35 rank(general))
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agentkit_gene.loop.ranks import rank
from agentkit_gene.loop.words import symbols_in, tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agentkit_gene.loop.features import Knowledge

    Floats = NDArray[np.float64]

GENERAL_WEIGHT = 0.35
SHARPNESS = 3.0
SIZE_OFFSET = 5.0


class Prior:
    """The text prior of one task on one library; computed once, shared by all units and rounds."""

    def __init__(self, knowledge: Knowledge, task: str) -> None:
        self.knowledge, self.task = knowledge, task

    @cached_property
    def named(self) -> NDArray[np.int64]:
        """Rows of the genes that the task names."""
        row = {g.upper(): i for i, g in enumerate(self.knowledge.genes)}
        found = []
        for symbol in symbols_in(self.task):
            for name in (symbol, *self.knowledge.other_names.get(symbol, ())):
                if name.upper() in row:
                    found.append(row[name.upper()])
                    break
        return np.unique(np.array(found, dtype=np.int64))

    @cached_property
    def query(self) -> frozenset[str]:
        """The task's words, with those of the full names of genes it names."""
        words = tokens(self.task)
        for i in self.named:
            words |= tokens(self.knowledge.full_names[i])
        return words

    @cached_property
    def similarity(self) -> Floats:
        """(sets,) how well each set's name matches the query, in [0, 1]."""
        names = [tokens(n) for n in self.knowledge.set_names]
        holds = Counter(t for words in names for t in words)
        out = np.array(
            [
                sum(np.log(len(names) / (1 + holds[t])) for t in sorted(words & self.query))
                / np.sqrt(1 + len(words))
                for words in names
            ],
            dtype=np.float64,
        )
        top = out.max(initial=0.0)
        return np.maximum(out, 0) / top if top > 0 else np.zeros(len(names))

    @cached_property
    def text(self) -> Floats:
        """(genes,) how much the gene's sets match."""
        k = self.knowledge
        out = np.asarray(k.membership @ (self.similarity**SHARPNESS / np.sqrt(k.set_sizes + SIZE_OFFSET)))
        out[self.named] = out.max(initial=0.0)
        return out

    @cached_property
    def general(self) -> Floats:
        """(genes,) how well connected, annotated and expressed the gene is: hits of any screen are."""
        k = self.knowledge
        parts = (np.log1p(k.degree), np.log1p(k.sets_of("go")), np.log1p(k.sets_of("path")), k.expression)
        return np.asarray(np.sum([rank(p) for p in parts], axis=0))

    @cached_property
    def value(self) -> Floats:
        """(genes,) the prior, a rank in [0, 1)."""
        return rank(rank(self.text) + GENERAL_WEIGHT * rank(self.general))
