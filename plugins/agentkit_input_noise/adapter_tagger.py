"""`tagger:sha256:HEX`: MiniLM with a LoRA adapter and a head on each word's first token, from a file of a training run.

`weight.finetune` writes such files: PEFT's names for the factors, and `head.weight` and `head.bias` beside them. It
trains on a split of its own, so most of a data set's test texts may have been trained on: compare what noise does to
its scores, not the scores with those of a tagger that never saw them.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from agentkit.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from agentkit import Context

BASE = "minilm:"
"""The encoder that the adapter belongs to."""

SITE, FACTOR_A, FACTOR_B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
ROW_LENGTHS = (16, 32, 64, 128, 256)
"""Tokens that rows are padded to."""

ROWS = 16
"""Rows of every forward: a sentence's tags do not depend on its neighbours."""

_OPENED: WeakKeyDictionary[Any, dict[tuple[str, tuple[str, ...]], AdapterTagger]] = WeakKeyDictionary()


def opened(sha256: str, ctx: Context, tags: Sequence[str], outside: str) -> AdapterTagger:
    """The tagger of an adapter among the store's artifacts, read once per worker.

    Raises:
        ParamError: this store holds no such artifact.
        TargetError: it is no adapter of this encoder, or its head has another number of classes than tags.
    """
    from safetensors.torch import load

    encoder = ctx.target(BASE)
    known, key = _OPENED.setdefault(encoder, {}), (sha256, tuple(tags))
    if key not in known:
        known[key] = AdapterTagger(encoder, load(ctx.read_artifact(sha256)), tags, outside)
    return known[key]


class AdapterTagger:
    """Labels each word of each sentence.

    Args:
        encoder: has `model` (Hugging Face's kind) and `tokenizer`; neither is changed.
        tensors: of the adapter file.
        tags: names of the classes, in the head's order.
        outside: the tag of a word that the tokenizer gives no token.

    Raises:
        TargetError: factors or head do not fit.
    """

    def __init__(
        self, encoder: Any, tensors: Mapping[str, Tensor], tags: Sequence[str], outside: str
    ) -> None:
        self.tags, self._outside = tuple(tags), outside
        self._model = adapted(encoder.model, tensors)
        self._tokenizer = getattr(encoder.tokenizer, "backend_tokenizer", encoder.tokenizer)
        device = next(self._model.parameters()).device
        try:
            self._weight, self._bias = (tensors[f"head.{part}"].to(device) for part in ("weight", "bias"))
        except KeyError:
            raise TargetError(
                "the adapter file holds no head.weight and head.bias, so it tags nothing; use one of weight.finetune"
            ) from None
        if len(self._bias) != len(self.tags):
            raise TargetError(
                f"the adapter's head has {len(self._bias)} classes and the data {len(self.tags)} tags; it was trained "
                "on other data"
            )

    @torch.no_grad()
    def predict(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """One tag a word; a sentence's tags do not depend on the other sentences."""
        encodings = self._tokenizer.encode_batch([list(words) for words in sentences], is_pretokenized=True)
        found = [[self._outside] * len(words) for words in sentences]
        for length in ROW_LENGTHS:
            shorter = max((n for n in ROW_LENGTHS if n < length), default=0)
            members = [i for i, e in enumerate(encodings) if shorter < len(e.ids) <= length]
            for start in range(0, len(members), ROWS):
                part = members[start : start + ROWS]
                classes = self._classes([encodings[i].ids for i in part], length)
                for row, i in enumerate(part):
                    for word, token in first_tokens(encodings[i].word_ids).items():
                        found[i][word] = self.tags[classes[row][token]]
        return found

    def _classes(self, ids: Sequence[Sequence[int]], length: int) -> list[list[int]]:
        full = [*ids, *([ids[0]] * (ROWS - len(ids)))]
        tokens = torch.tensor([[*row, *([0] * (length - len(row)))] for row in full])
        keep = torch.arange(length)[None] < torch.tensor([len(row) for row in full])[:, None]
        mask = keep[:, None, None, :].expand(
            ROWS, 1, length, length
        )  # spelled out: an all-true one may be dropped
        device = self._weight.device
        hidden = self._model(input_ids=tokens.to(device), attention_mask=mask.to(device)).last_hidden_state
        classes: list[list[int]] = (hidden @ self._weight.T + self._bias).argmax(dim=2).tolist()
        return classes


def adapted(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the model with B A added to each site's weight.

    Raises:
        TargetError: a site that the model does not have, or of another shape.
    """
    copied = copy.deepcopy(model)
    for name, a in tensors.items():
        if not name.endswith(FACTOR_A):
            continue
        site = name.removeprefix(SITE).removesuffix(FACTOR_A)
        b = tensors[name.removesuffix(FACTOR_A) + FACTOR_B]
        try:
            weight = copied.get_parameter(f"{site}.weight")
        except AttributeError:
            raise TargetError(
                f"the adapter's site {site!r} is not in {BASE}; it belongs to another model"
            ) from None
        if weight.shape != (len(b), a.shape[1]):
            raise TargetError(
                f"the adapter's site {site!r} is {len(b)} x {a.shape[1]} and {BASE}'s {tuple(weight.shape)}"
            )
        with torch.no_grad():
            weight.add_((b @ a).to(weight))
    return copied


def first_tokens(word_ids: Sequence[int | None]) -> dict[int, int]:
    """Place of each word's first token."""
    first: dict[int, int] = {}
    for place, word in enumerate(word_ids):
        if word is not None:
            first.setdefault(word, place)
    return first
