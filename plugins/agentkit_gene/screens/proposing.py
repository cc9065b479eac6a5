"""A chat model on top of the picker: what it is asked, and what is made of its reply. It never replaces the picker."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentkit_gene.loop.picks import Resolver
from agentkit_gene.loop.proposals import CANDIDATE_SHARE, Proposal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit_gene.loop.screen import Library

MOST_LINES = 200
"""Lines of tested genes that a model is shown."""

MOST_RANKED = 40
ANSWER = '{"seeds": [genes], "sets": [gene set names], "candidates": [genes to test, best first], "why": "one or two sentences"}'


@dataclass(frozen=True)
class Heard:
    """A proposal with what was wrong with the reply; `invented` are names that are no gene of the library."""

    proposal: Proposal
    notes: tuple[str, ...] = ()
    invented: tuple[str, ...] = ()


def no_proposal(note: str) -> Heard:
    """Nothing was proposed, and why."""
    return Heard(Proposal(), (note,))


def question(
    task: str,
    library: Library,
    told: Sequence[Mapping[str, Any]],
    ranked: Sequence[Mapping[str, str]],
    round: int,
    batch: int,
) -> str:
    """What the model is asked in one round: the task, results so far, and how the picker ranks what is left.

    Args:
        task: the goal in words.
        library: the genes that may be tested.
        told: rows with gene, score, hit of tested genes.
        ranked: the picker's own batch, best first, with the rank by each component.
        round: which round, from 1.
        batch: how many genes it will test.
    """
    results = sorted(told, key=lambda r: (not r.get("hit"), -abs(r["score"]), r["gene"]))[:MOST_LINES]
    known = [f"{r['gene']}\t{r['score']:.4g}\t{_called(r.get('hit'))}" for r in results]
    columns = [c for c in (ranked[0] if ranked else {}) if c.startswith("rank_")]
    table = ["\t".join(["gene", *(c.removeprefix("rank_") for c in columns)])]
    table += ["\t".join([r["gene"], *(f"{float(r[c]):.3f}" for c in columns)]) for r in ranked[:MOST_RANKED]]
    places = int(CANDIDATE_SHARE * batch)
    return "\n".join(
        [
            f"Propose genes for round {round} of a perturbation screen. Run no experiment and call no tool.",
            f"Task: {task or 'not given'}",
            f"Measurement: {library.measurement or 'not given'}. Library: {len(library)} genes, such as "
            + ", ".join(library.genes[:5])
            + ".",
            f"A batch has {batch} genes. The picker fills it; of your candidates at most {places} are taken, in your order. "
            "Seeds move the picker towards their neighbours, sets towards their members.",
            "Tested so far (gene, score, hit):" if known else "Nothing is tested yet.",
            *known,
            "The picker's own next genes with the rank that each component gives (1 is best):",
            *table,
            f"Answer with one JSON object and nothing else: {ANSWER}",
        ]
    )


def _called(hit: object) -> str:
    return "" if hit is None else ("hit" if hit else "no hit")


def hear(reply: str, library: Library) -> Heard:
    """The proposal in a reply. Genes that the library does not have are counted and left out; nothing raises."""
    value, fault = _json_in(reply)
    if fault:
        return no_proposal(f"{fault}; these are the offline picks")
    proposal, notes = Proposal.from_json(value)
    resolver = Resolver(library)
    invented = tuple(dict.fromkeys(g for g in (*proposal.seeds, *proposal.candidates) if resolver(g) is None))
    kept = Proposal(
        _known(proposal.seeds, resolver),
        proposal.sets,
        _known(proposal.candidates, resolver),
        proposal.why[:2000],
    )
    if invented:
        shown = ", ".join(invented[:8]) + (", …" if len(invented) > 8 else "")
        notes.append(f"{len(invented)} proposed names are no genes of the library: {shown}")
    if kept.empty:
        notes.append("the chat model proposed nothing that can be used; these are the offline picks")
    return Heard(kept, tuple(notes), invented)


def _known(names: Sequence[str], resolver: Resolver) -> tuple[str, ...]:
    """Library symbols of the names that have one, each once."""
    return tuple(dict.fromkeys(s for s in map(resolver, names) if s is not None))


def _json_in(reply: str) -> tuple[Any, str]:
    """The first JSON object in a reply, fenced or bare, and what was wrong."""
    if not reply.strip():
        return None, "the chat model said nothing"
    start = reply.find("{")
    if start < 0:
        return None, "the chat model's reply holds no JSON object"
    try:
        return json.JSONDecoder().raw_decode(reply[start:])[0], ""
    except ValueError as error:
        return None, f"the chat model's reply is not JSON ({error})"
