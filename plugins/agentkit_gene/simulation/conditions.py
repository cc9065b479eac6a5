"""Which conditions a tool's params name, and which of them this job has to compute."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentkit_gene.simulation.errors import TooLargeError
from agentkit_gene.simulation.perturbation import Perturbation, parse_perturbation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit import Context
    from agentkit_gene.simulation.network import Network

DEFAULT_VALUE = {"KO": 1.0, "KD": 0.8, "OE": 3.0}


@dataclass(frozen=True)
class Conditions:
    """Names to report, each with its perturbation; pairs of names for epistasis."""

    asked: Mapping[str, Perturbation]
    singles: Mapping[str, tuple[str, str]]

    def to_run(self, ctx: Context) -> list[Perturbation]:
        """Distinct perturbations to simulate: those asked for, and the singles of asked pairs."""
        names = [n for n in self.asked if ctx.wants(n)]
        needed = [*names, *(s for n in names for s in self.singles.get(n, ()))]
        return list(dict.fromkeys(self.asked[n] for n in needed))


def written(texts: Sequence[str]) -> Conditions:
    """Conditions named as they were written; two spellings of one perturbation are one condition."""
    found: dict[Perturbation, str] = {}
    for text in texts:
        perturbation = parse_perturbation(text)
        if perturbation.parts:
            found.setdefault(perturbation, text)
    return Conditions({text: p for p, text in found.items()}, {})


def swept(
    network: Network, kind: str, value: float | None, genes: str | list[str], order: int, limit: int
) -> Conditions:
    """Every single and, for order 2, every pair of the chosen genes.

    Raises:
        UnknownGeneError: a gene the network does not have. TooLargeError: more conditions than `limit`.
    """
    if genes == "regulators":
        chosen: list[str] = list(network.regulators)
    elif genes == "all":
        chosen = list(network.names)
    else:
        chosen = [network.gene(g).name for g in dict.fromkeys(genes)]
    n = len(chosen)
    count = n + (n * (n - 1) // 2 if order == 2 else 0)
    if count > limit:
        raise TooLargeError(
            f"{count} conditions ({n} genes, order {order}) exceed max_conditions {limit}; name fewer genes or raise it"
        )
    amount = DEFAULT_VALUE[kind] if value is None else value
    singles = {g: parse_perturbation(f"{kind}:{g}@{amount:.12g}") for g in chosen}
    asked = {p.name: p for p in singles.values()}
    pairs = {}
    if order == 2:
        for a, b in itertools.combinations(chosen, 2):
            pair = singles[a] + singles[b]
            asked[pair.name] = pair
            pairs[pair.name] = (singles[a].name, singles[b].name)
    return Conditions(asked, pairs)
