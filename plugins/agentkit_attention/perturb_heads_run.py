"""The body of `attention.perturb_heads`: conditions from params, items from units, scores from embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from agentkit import BASELINE, Measurements, derive_seed
from agentkit.errors import ParamError
from agentkit_attention.minilm import key_mask, pooled
from agentkit_attention.models import describe
from agentkit_attention.sweep import Condition, HeadSweep
from agentkit_attention.techniques import EditState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from agentkit import Context, Unit
    from agentkit_attention.calls import SiteKey
    from agentkit_attention.perturb_heads import PerturbHeads
    from agentkit_attention.sites import Head, SiteTable

CALIBRATION_TEXTS = 64
"""Texts of the data whose mean head outputs `mean_ablate` uses; the first ones, the same for every unit."""

_means: WeakKeyDictionary[nn.Module, dict[str, dict[SiteKey, Tensor]]] = WeakKeyDictionary()


def run(params: PerturbHeads, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Measure `baseline` and every asked condition on every unit."""
    encoder, data = ctx.target(params.target), ctx.target(params.data)
    table = describe(encoder).table
    conditions = [c for c in conditions_of(params, table) if ctx.wants(c.name)]
    sweep = HeadSweep(encoder.model, table, params.memory_mb)
    values: dict[str, list[Tensor]] = {"recall_at_1": [], "margin": [], "cosine": []}
    for done, unit in enumerate(units):
        question = ask(params, unit, encoder, data, table)
        for metric, column in _one_unit(question, sweep, conditions).items():
            values[metric].append(column)
        ctx.progress(done + 1, len(units))
    ctx.artifact("trace.json", sweep.trace.to_json())
    names = [BASELINE, *(c.name for c in conditions)]
    return Measurements.from_arrays(units, names, {m: torch.stack(v).numpy() for m, v in values.items()})


def conditions_of(params: PerturbHeads, table: SiteTable) -> list[Condition]:
    """Every condition that the params describe, in canonical order."""
    heads = table.select(params.sites)
    return [
        Condition(
            name if len(params.strengths) == 1 else f"{name}:{params.technique}@{strength:g}",
            group, params.technique, strength,
        )
        for name, group in _groups(heads, params.group)
        for strength in params.strengths
    ]  # fmt: skip


def _groups(heads: Sequence[Head], kind: str) -> list[tuple[str, tuple[Head, ...]]]:
    if kind == "head":
        return [(h.name, (h,)) for h in heads]
    if kind == "set":
        return [("set", tuple(heads))]
    layers: dict[str, list[Head]] = {}
    for head in heads:
        name = f"L{head.site.layer}" if head.site.short else head.site.address
        layers.setdefault(name, []).append(head)
    return [(name, tuple(group)) for name, group in layers.items()]


@dataclass
class Question:
    """One unit's texts, ready for the model.

    Attributes:
        inputs: arguments of the model for queries, then candidates.
        keep: which tokens are real, boolean [texts, tokens].
        n_queries: how many of the texts are queries.
        answers: index of each query's right candidate, int64 [queries].
        state: what the techniques need to know about this unit.
        donors: another text for each text.
    """

    inputs: dict[str, Tensor]
    keep: Tensor
    n_queries: int
    answers: Tensor
    state: EditState
    donors: Tensor

    @property
    def n_texts(self) -> int:
        """Queries and candidates together."""
        return len(self.keep)


def ask(params: PerturbHeads, unit: Unit, encoder: Any, data: Any, table: SiteTable) -> Question:
    """Draw one unit's queries and candidates."""
    items = data.linkage_items(
        unit.rng("items"),
        params.n,
        params.typo_rate,
        kind="typos",
        key=derive_seed(unit.seed, "typos"),
        candidates=params.candidates,
    )
    texts = [*items.queries, *items.candidates]
    inputs = encoder.inputs(texts)
    keep = key_mask(inputs)
    state = EditState(keep=keep, noise=_noise(unit, len(texts)))
    if params.technique == "mean_ablate":
        state.means = head_means(encoder, table, data, params.data)
    donors = _other_items(unit, len(texts))
    return Question(inputs, keep, len(items.queries), torch.tensor(items.answers), state, donors)


def _one_unit(question: Question, sweep: HeadSweep, conditions: Sequence[Condition]) -> dict[str, Tensor]:
    """Each metric of one unit, float64 [1 + conditions]."""
    embeddings = sweep.run(
        question.inputs,
        question.n_texts,
        conditions,
        lambda output, rows: pooled(output.last_hidden_state, question.keep[rows]),
        question.state,
        question.donors,
    ).double()
    return linkage_scores(embeddings.cpu(), question.n_queries, question.answers)


def linkage_scores(embeddings: Tensor, n_queries: int, answers: Tensor) -> dict[str, Tensor]:
    """Recall at 1, margin and cosine of each condition.

    Args:
        embeddings: unit length, float64 [conditions, queries + candidates, dim]; the untouched ones first.
        n_queries: how many of the rows are queries.
        answers: index of each query's right candidate, int64 [queries].

    Returns:
        Each metric [conditions], a mean over queries (over all texts for `cosine`).
    """
    similarity = embeddings[:, :n_queries] @ embeddings[:, n_queries:].transpose(1, 2)
    is_right = torch.nn.functional.one_hot(answers, similarity.shape[2]).bool().expand_as(similarity)
    right = similarity[is_right].view(similarity.shape[:2])
    wrong = similarity.masked_fill(is_right, -torch.inf).amax(2)
    unmoved = (embeddings == embeddings[:1]).all(2)
    cosine = torch.where(unmoved, 1.0, (embeddings * embeddings[:1]).sum(2)).clamp(-1, 1)
    return {
        "recall_at_1": (right > wrong).double().mean(1),
        "margin": ((right - wrong) / 2).clamp(-1, 1).mean(1),
        "cosine": cosine.mean(1),
    }


def head_means(encoder: Any, table: SiteTable, data: Any, uri: str) -> dict[SiteKey, Tensor]:
    """Mean output of every head over the tokens of the data's first texts, [heads, dim] by site."""
    from agentkit_attention.intercept import watching

    known = _means.setdefault(encoder.model, {})
    if uri not in known:
        inputs = encoder.inputs(list(data.texts[:CALIBRATION_TEXTS]))
        weight = key_mask(inputs).float()
        weight /= weight.sum()
        means: dict[SiteKey, Tensor] = {}

        def note(call: Any) -> None:
            means[call.site] = torch.einsum("bs,bhsd->hd", weight.to(call.out), call.out)

        sites = [s.key.module for s in table.sites]
        projections = [s.projection for s in table.sites if s.projection]
        with torch.no_grad(), watching(encoder.model, note, modules=sites, projections=projections):
            encoder.model(**inputs)
        known[uri] = means
    return known[uri]


def _noise(unit: Unit, n_items: int) -> Any:
    """Draws for one head of one site: the same whatever else is measured, on the CPU in float32."""

    def draw(site: SiteKey, head: int, shape: tuple[int, int]) -> Tensor:
        generator = unit.torch_generator(f"noise/{site.module}#{site.call}/h{head}")
        return torch.randn(n_items, *shape, generator=generator)

    return draw


def _other_items(unit: Unit, n_items: int) -> Tensor:
    """For each item another one, drawn per unit: a permutation without fixed points."""
    if n_items < 2:
        raise ParamError("resample needs at least two items in a unit")
    order = torch.randperm(n_items, generator=unit.torch_generator("donors"))
    donors = torch.empty(n_items, dtype=torch.long)
    donors[order] = order.roll(1)  # one cycle through all items: nobody is their own donor
    return donors
