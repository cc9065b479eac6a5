"""What a text model is asked on one unit, and how its answers are scored, condition by condition."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from agentkit import derive_seed
from agentkit.errors import ParamError, TargetError
from agentkit_attention.minilm import key_mask, pooled
from agentkit_attention.techniques import EditState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from agentkit import Unit
    from agentkit_attention.calls import SiteKey
    from agentkit_attention.perturb_heads import PerturbHeads
    from agentkit_attention.sites import SiteTable

CALIBRATION_TEXTS = 64
"""Texts of the data whose mean head outputs `mean_ablate` uses; the first ones, the same for every unit."""

_means: WeakKeyDictionary[nn.Module, dict[str, dict[SiteKey, Tensor]]] = WeakKeyDictionary()


@dataclass
class Question(ABC):
    """One unit's texts, ready for the model.

    Attributes:
        inputs: arguments of the model.
        keep: which tokens are real, boolean [texts, tokens].
        state: what the techniques need to know about this unit.
        donors: another text for each text.
        target: the model's URI, for messages.
    """

    inputs: dict[str, Tensor]
    keep: Tensor
    state: EditState
    donors: Tensor
    target: str

    main = ""
    """The metric that pictures show and a screen differentiates."""

    @property
    def n_texts(self) -> int:
        """Rows of the batch."""
        return len(self.keep)

    @property
    def floats_per_row(self) -> int:
        """Numbers that `collect` looks at per row, for the memory budget."""
        return 0

    @abstractmethod
    def collect(self, output: Any, rows: Tensor) -> Tensor:
        """What is kept of a model's output, [rows, …]; `rows` says which text each row copies."""

    @abstractmethod
    def scores(self, values: Tensor) -> dict[str, Tensor]:
        """Each metric [conditions] of what was kept [conditions, texts, …], the untouched model first."""


@dataclass
class Embedded(Question):
    """A question answered by sentence embeddings: mean over real tokens of the last hidden states."""

    def collect(self, output: Any, rows: Tensor) -> Tensor:
        """Unit-length embeddings [rows, dim]."""
        if not hasattr(output, "last_hidden_state"):
            raise TargetError(
                f"{self.target} gives no hidden states to embed texts with, only "
                f"{', '.join(output)}; choose objective: next_token"
            )
        return pooled(output.last_hidden_state, self.keep[rows])


@dataclass
class Linkage(Embedded):
    """Find the right record among candidates: queries first, then candidates."""

    answers: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    """Index of each query's right candidate, int64 [queries]."""

    main = "margin"

    def scores(self, values: Tensor) -> dict[str, Tensor]:
        """Recall at 1, margin and cosine."""
        return linkage_scores(values.double().cpu(), len(self.answers), self.answers)


@dataclass
class Paraphrase(Embedded):
    """Tell a sentence's paraphrase from other sentences: n sentences first, then their n paraphrases."""

    main = "pair_margin"

    def scores(self, values: Tensor) -> dict[str, Tensor]:
        """Pair margin and cosine."""
        return pair_scores(values.double().cpu())


@dataclass
class NextToken(Question):
    """Predict each next token of the texts."""

    untouched: Tensor | None = None
    """Log-probabilities of the first pass, which is the untouched one, [texts, tokens - 1, vocabulary]."""

    vocabulary: int = 0
    main = "nll"

    @property
    def floats_per_row(self) -> int:
        """All logits of a row."""
        return self.inputs["input_ids"].shape[1] * self.vocabulary

    def collect(self, output: Any, rows: Tensor) -> Tensor:
        """Nll, accuracy and divergence of each row, [rows, 3]."""
        if not hasattr(output, "logits"):
            raise TargetError(f"{self.target} has no language-model head, so next tokens cannot be scored")
        tokens, keep = self.inputs["input_ids"], self.keep
        if self.untouched is None:
            self.untouched = output.logits[:, :-1].detach().log_softmax(-1)
        parts = [
            token_scores(logits[None], self.untouched[[i]], tokens[[i], 1:], keep[[i], 1:])
            for logits, i in zip(output.logits[:, :-1], rows.tolist(), strict=True)
        ]
        return torch.cat(parts)

    def scores(self, values: Tensor) -> dict[str, Tensor]:
        """Means over the texts."""
        nll, accuracy, js = values.double().mean(1).cpu().unbind(1)
        return {"nll": nll, "accuracy": accuracy, "js": js.clamp(0, 1)}


def ask(params: PerturbHeads, unit: Unit, encoder: Any, data: Any, table: SiteTable) -> Question:
    """Draw one unit's question.

    Raises:
        TargetError: the target reads no texts, or the data does not hold what the objective needs.
        ParamError: more items than the data has, or too few for the objective or technique.
    """
    if not hasattr(encoder, "inputs"):
        raise TargetError(
            f"{params.target} reads no texts: it needs .inputs(texts) beside .model; use minilm: or hf:FOLDER"
        )
    needed = {"linkage": "linkage_items", "pair_margin": "pairs", "next_token": "texts"}[params.objective]
    if not hasattr(data, needed):
        raise TargetError(
            f"{params.data} cannot be asked for {params.objective}: it has no .{needed}. "
            "addresses: serves linkage and next_token, pairs: serves pair_margin and next_token"
        )
    make = {"linkage": _linkage, "pair_margin": _paraphrase, "next_token": _next_token}[params.objective]
    question = make(params, unit, encoder, data)
    if params.technique == "mean_ablate":
        question.state.means = head_means(encoder, table, data, params.data)
    return question


def _parts(params: PerturbHeads, unit: Unit, encoder: Any, texts: Sequence[str]) -> dict[str, Any]:
    """What every kind of question holds."""
    inputs = encoder.inputs(list(texts))
    mask = inputs["attention_mask"]
    keep = (key_mask(inputs) if mask.dim() == 4 else mask).bool()
    if keep.shape != inputs["input_ids"].shape:
        raise TargetError(
            f"{params.target}: its attention_mask {list(mask.shape)} does not fit its input_ids "
            f"{list(inputs['input_ids'].shape)}; .inputs(texts) must give [rows, tokens] for both, or "
            "[rows, 1, tokens, tokens] for the mask"
        )
    return {
        "inputs": inputs,
        "keep": keep,
        "state": EditState(keep=keep, noise=_noise(unit, len(texts))),
        "donors": _other_items(unit, len(texts), params.technique),
        "target": params.target,
    }


def _linkage(params: PerturbHeads, unit: Unit, encoder: Any, data: Any) -> Question:
    items = data.linkage_items(
        unit.rng("items"),
        params.n,
        params.typo_rate,
        kind="typos",
        key=derive_seed(unit.seed, "typos"),
        candidates=params.candidates,
    )
    parts = _parts(params, unit, encoder, [*items.queries, *items.candidates])
    return Linkage(**parts, answers=torch.tensor(items.answers))


def _paraphrase(params: PerturbHeads, unit: Unit, encoder: Any, data: Any) -> Question:
    if not 2 <= params.n <= len(data.pairs):
        raise ParamError(f"n {params.n}: pair_margin takes 2 to {len(data.pairs)} pairs of {params.data}")
    chosen = [data.pairs[i] for i in unit.rng("items").choice(len(data.pairs), params.n, replace=False)]
    return Paraphrase(**_parts(params, unit, encoder, [p[side] for side in (0, 1) for p in chosen]))


def _next_token(params: PerturbHeads, unit: Unit, encoder: Any, data: Any) -> Question:
    pool = list(getattr(data, "test", range(len(data.texts))))
    if params.n > len(pool):
        raise ParamError(f"n {params.n}: {params.data} has {len(pool)} texts")
    texts = [data.texts[pool[i]] for i in unit.rng("items").choice(len(pool), params.n, replace=False)]
    vocabulary = int(encoder.model.config.get_text_config().vocab_size)
    return NextToken(**_parts(params, unit, encoder, texts), vocabulary=vocabulary)


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
    return {
        "recall_at_1": (right > wrong).double().mean(1),
        "margin": ((right - wrong) / 2).clamp(-1, 1).mean(1),
        "cosine": _unmoved(embeddings),
    }


def pair_scores(embeddings: Tensor) -> dict[str, Tensor]:
    """Pair margin and cosine of each condition.

    Args:
        embeddings: unit length, float64 [conditions, 2 n, dim]: n sentences, then their paraphrases in order.

    Returns:
        `pair_margin` [conditions], in [-2, 2]: mean over sentences of the cosine to the own paraphrase minus
        the mean cosine to the others'; `cosine`, a mean over all texts.
    """
    n = embeddings.shape[1] // 2
    similarity = embeddings[:, :n] @ embeddings[:, n:].transpose(1, 2)
    own = similarity.diagonal(dim1=1, dim2=2)
    others = (similarity.sum(2) - own) / (n - 1)
    return {"pair_margin": (own - others).mean(1).clamp(-2, 2), "cosine": _unmoved(embeddings)}


def _unmoved(embeddings: Tensor) -> Tensor:
    """Mean cosine of each condition's embeddings to the untouched ones; exactly 1 where no bit moved."""
    same = (embeddings == embeddings[:1]).all(2)
    return torch.where(same, 1.0, (embeddings * embeddings[:1]).sum(2)).clamp(-1, 1).mean(1)


def token_scores(logits: Tensor, untouched: Tensor, tokens: Tensor, keep: Tensor) -> Tensor:
    """Nll (nats), top-1 accuracy and divergence (bits) of each row, means over real tokens, [rows, 3]."""
    log_p = logits.log_softmax(-1)
    nll = -log_p.gather(2, tokens[..., None]).squeeze(2)
    right = (log_p.argmax(2) == tokens).to(nll)
    middle = torch.logaddexp(log_p, untouched) - math.log(2)
    js = 0.5 * sum(((p.exp() * (p - middle)).sum(2) for p in (log_p, untouched)), torch.zeros_like(nll))
    js = js.masked_fill((log_p == untouched).all(2), 0)  # else a large vocabulary's rounding is left of it
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


def _other_items(unit: Unit, n_items: int, technique: str) -> Tensor:
    """For each item another one, drawn per unit: a permutation without fixed points."""
    if n_items < 2 and technique == "resample":
        raise ParamError("resample needs at least two texts in a unit; raise n")
    order = torch.randperm(n_items, generator=unit.torch_generator("donors"))
    donors = torch.empty(n_items, dtype=torch.long)
    donors[order] = order.roll(1)  # one cycle through all items: nobody is their own donor
    return donors
