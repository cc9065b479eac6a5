"""The body of `attention.perturb_heads`: conditions from params, items from units, scores from embeddings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from agentkit import BASELINE, Measurements, derive_seed
from agentkit.errors import ParamError, TargetError
from agentkit_attention.minilm import key_mask, pooled
from agentkit_attention.models import describe
from agentkit_attention.pictures import publish
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
    values: dict[str, list[Tensor]] = {}
    for done, unit in enumerate(units):
        if params.objective == "linkage":
            found = _one_unit(ask(params, unit, encoder, data, table), sweep, conditions)
        else:
            found = next_token_scores(params, unit, encoder, data, sweep, conditions)
        for metric, column in found.items():
            values.setdefault(metric, []).append(column)
        ctx.progress(done + 1, len(units))
    ctx.artifact("trace.json", sweep.trace.to_json())
    names = [BASELINE, *(c.name for c in conditions)]
    arrays = {m: torch.stack(v).numpy() for m, v in values.items()}
    metric = "margin" if params.objective == "linkage" else "nll"
    publish(ctx, conditions, arrays[metric], metric)
    return Measurements.from_arrays(units, names, arrays)


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


def next_token_scores(
    params: PerturbHeads,
    unit: Unit,
    encoder: Any,
    data: Any,
    sweep: HeadSweep,
    conditions: Sequence[Condition],
) -> dict[str, Tensor]:
    """Next-token nll, accuracy and divergence from the untouched prediction, float64 [1 + conditions]."""
    rng = unit.rng("items")
    pool = list(getattr(data, "test", range(len(data.texts))))
    if params.n > len(pool):
        raise ParamError(f"n {params.n}: {params.data} has {len(pool)} texts")
    texts = [data.texts[pool[i]] for i in rng.choice(len(pool), params.n, replace=False)]
    inputs = encoder.inputs(texts)
    tokens, keep = inputs["input_ids"], inputs["attention_mask"].bool()
    state = EditState(keep=keep, noise=_noise(unit, len(texts)))
    if params.technique == "mean_ablate":
        state.means = head_means(encoder, sweep.table, data, params.data)
    untouched: list[Tensor] = []

    def collect(output: Any, rows: Tensor) -> Tensor:
        if not hasattr(output, "logits"):
            raise TargetError(f"{params.target} has no language-model head, so next tokens cannot be scored")
        if not untouched:  # the first pass is the untouched one
            untouched.append(output.logits[:, :-1].log_softmax(-1))
        parts = [
            _token_scores(logits[None], untouched[0][[i]], tokens[[i], 1:], keep[[i], 1:])
            for logits, i in zip(output.logits[:, :-1], rows.tolist(), strict=True)
        ]
        return torch.cat(parts)

    scores = sweep.run(
        inputs, len(texts), conditions, collect, state, _other_items(unit, len(texts)),
        floats_per_row=tokens.shape[1] * int(encoder.model.config.get_text_config().vocab_size),
    ).double()  # fmt: skip
    scores[:, :, 2].clamp_(0, 1)
    return dict(zip(("nll", "accuracy", "js"), scores.mean(1).cpu().T, strict=True))


def _token_scores(logits: Tensor, untouched: Tensor, tokens: Tensor, keep: Tensor) -> Tensor:
    """Nll (nats), top-1 accuracy and divergence (bits) of each row, means over real tokens, [rows, 3]."""
    log_p = logits.log_softmax(-1)
    nll = -log_p.gather(2, tokens[..., None]).squeeze(2)
    right = (log_p.argmax(2) == tokens).to(nll)
    middle = torch.logaddexp(log_p, untouched) - math.log(2)
    js = 0.5 * sum(((p.exp() * (p - middle)).sum(2) for p in (log_p, untouched)), torch.zeros_like(nll))
    weight = keep.to(nll) / keep.sum(1, keepdim=True).clamp(min=1)
    return torch.stack([(s * weight).sum(1) for s in (nll, right, js / math.log(2))], 1)


def head_means(encoder: Any, table: SiteTable, data: Any, uri: str) -> dict[SiteKey, Tensor]:
    """Mean output of every head over the tokens of the data's first texts, [heads, dim] by site."""
    from agentkit_attention.intercept import watching

    known = _means.setdefault(encoder.model, {})
    if uri not in known:
        inputs = encoder.inputs(list(data.texts[:CALIBRATION_TEXTS]))
        mask = inputs["attention_mask"]
        weight = (key_mask(inputs) if mask.dim() == 4 else mask).float()
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
