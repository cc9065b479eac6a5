"""The user's model from one block upwards: the layers below run once, over all data, and are shared."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from agentkit_weight.sites import block_list, lowest_block
from agentkit_weight.tagging import Batch, Tagged, collate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

_PREFIX_ROWS = 64


class _ReachedError(Exception):
    """Carries the hidden states out of a forward pass whose upper half is not wanted."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class _GivenEmbeddings(nn.Module):
    """Stands where the embeddings were: hands on the hidden states that the lower layers gave."""

    def forward(self, *args: Any, inputs_embeds: Tensor, **kwargs: Any) -> Tensor:
        return inputs_embeds


class Encoder:
    """Hidden states (b, t, d) of a batch, from token ids or from the cached output of the lower layers.

    The upper part is the user's own model seen through a shallow view that shares every layer with it: its
    forward code, masks and hooks are the user's. The view is used only where it repeats the whole model bit
    for bit on a first batch; otherwise `start` is None and every pass runs the whole model.

    Args:
        model: an encoder of Hugging Face's kind (`input_ids`, `attention_mask`, `last_hidden_state`).
        start: first block to run; None for the whole model; the number of blocks for none at all.
        check: strings for the comparison.
    """

    def __init__(self, model: nn.Module, start: int | None, check: Tagged) -> None:
        self.model = model
        self.start = start
        self.device = str(next(model.parameters()).device)
        self._view: nn.Module | None = None
        self._bound: dict[str, Tensor] = {}
        self._names: dict[str, str] = {}
        if start is not None and not self._is_empty(start):
            self._view = _view_from(model, start)
            if self._view is None or not self._repeats_the_model(check):
                self.start, self._view = None, None

    @classmethod
    def for_sites(cls, model: nn.Module, sites: dict[str, nn.Module], check: Tagged) -> Encoder:
        """The encoder from the lowest block that holds a site."""
        return cls(model, lowest_block(model, sites), check)

    @classmethod
    def features(cls, model: nn.Module, check: Tagged) -> Encoder:
        """No layer above the cache: the batch's inputs are the model's last hidden states."""
        blocks = block_list(model)
        return cls(model, len(blocks[1]) if blocks else None, check)

    @property
    def cached(self) -> bool:
        """Whether batches hold hidden states rather than token ids."""
        return self.start is not None

    def bind(self, weights: Mapping[str, Tensor]) -> None:
        """Run with these site weights instead of the model's own; an empty mapping ends it.

        A half-precision model reads them rounded to its own type; the float32 originals keep every step.
        """
        dtype = next(self.model.parameters()).dtype
        self._bound = {self._weight_name(site): w.to(dtype) for site, w in weights.items()}

    def __call__(self, batch: Batch) -> Tensor:
        """Last hidden states (b, t, d); padded positions hold numbers without meaning."""
        if self.start is not None and self._is_empty(self.start):
            return batch.inputs
        key = "input_ids" if self._view is None else "inputs_embeds"
        arguments = {key: batch.inputs, "attention_mask": _full_mask(batch.keep)}
        module = self._view or self.model
        if self._bound:
            result = torch.func.functional_call(module, self._bound, args=(), kwargs=arguments)
        else:
            result = module(**arguments)
        hidden: Tensor = result.last_hidden_state
        return hidden

    @torch.no_grad()
    def prefix(self, rows: Tagged) -> list[Tensor]:
        """What batches of these strings need as `inputs`, one (t, d) tensor each; [] without a cache.

        Strings are taken in their given order, so a string's numbers depend on this list alone.
        """
        if self.start is None:
            return []
        out: list[Tensor] = []
        for top in range(0, len(rows), _PREFIX_ROWS):
            part = rows.take(range(top, min(top + _PREFIX_ROWS, len(rows))))
            hidden = self._below(collate(part, device=self.device))
            out += [hidden[i, : len(ids)].clone() for i, ids in enumerate(part.ids)]
        return out

    def _weight_name(self, site: str) -> str:
        """What a site's weight is called in the module that runs."""
        if not self._names:
            running = {id(m): n for n, m in (self._view or self.model).named_modules()}
            inside = {n: running[id(m)] for n, m in self.model.named_modules() if id(m) in running}
            wrapped = {n for n, m in self.model.named_modules() if hasattr(m, "base_layer")}
            self._names = {
                n: f"{r}.base_layer.weight" if n in wrapped else f"{r}.weight" for n, r in inside.items()
            }
        return self._names[site]

    def _below(self, batch: Batch) -> Tensor:
        arguments = {"input_ids": batch.inputs, "attention_mask": _full_mask(batch.keep)}
        start, blocks = self.start, block_list(self.model)
        if start is None or blocks is None or start >= len(blocks[1]):
            result: Tensor = self.model(**arguments).last_hidden_state
            return result
        handle = blocks[1][start].register_forward_pre_hook(_stop_here)
        try:
            self.model(**arguments)
        except _ReachedError as reached:
            return reached.hidden
        finally:
            handle.remove()
        raise AssertionError("the block's pre-hook always raises")

    def _is_empty(self, start: int) -> bool:
        blocks = block_list(self.model)
        return blocks is not None and start >= len(blocks[1])

    @torch.no_grad()
    def _repeats_the_model(self, check: Tagged) -> bool:
        part = check.take(range(min(4, len(check))))
        batch = collate(part, device=self.device)
        whole = self.model(input_ids=batch.inputs, attention_mask=_full_mask(batch.keep)).last_hidden_state
        hidden = self._below(batch)
        again = self(Batch(hidden, batch.keep, batch.places, batch.labels, batch.owner))
        return torch.equal(whole, again)


class Rows:
    """Strings ready to be batched: token ids, and the lower layers' output where the encoder caches it."""

    def __init__(self, encoder: Encoder, rows: Tagged, hidden: Sequence[Tensor] | None = None) -> None:
        self.encoder, self.rows = encoder, rows
        self.hidden = list(hidden) if hidden is not None else encoder.prefix(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Sequence[int]) -> Rows:
        """These strings in this order; the cache is shared."""
        hidden = [self.hidden[i] for i in indices] if self.hidden else []
        return Rows(self.encoder, self.rows.take(indices), hidden)

    def relabelled(self, labels: tuple[tuple[int, ...], ...]) -> Rows:
        """The same strings with other labels."""
        return Rows(self.encoder, Tagged(self.rows.ids, self.rows.starts, labels), self.hidden)

    def batch(self, indices: Sequence[int]) -> Batch:
        """One padded batch of these strings."""
        inputs = [self.hidden[i] for i in indices] if self.hidden else None
        return collate(self.rows.take(indices), inputs, self.encoder.device)

    def batches(self, size: int) -> list[tuple[list[int], Batch]]:
        """All strings, the short ones first so that little is padded, with their indices."""
        order = sorted(range(len(self)), key=lambda i: (len(self.rows.ids[i]), i))
        parts = [order[top : top + size] for top in range(0, len(order), size)]
        return [(part, self.batch(part)) for part in parts]


def _full_mask(keep: Tensor) -> Tensor:
    """Boolean mask (b, 1, t, t) over keys, spelled out: a model may drop a mask that hides nothing."""
    return keep[:, None, None, :].expand(-1, 1, keep.shape[1], -1)


def _stop_here(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    raise _ReachedError(inputs[0])


def _view_from(model: nn.Module, start: int) -> nn.Module | None:
    """The model without its embeddings and its first blocks, sharing all else; None if it is not so built."""
    blocks = block_list(model)
    if blocks is None or "embeddings" not in model._modules:
        return None
    view = _shallow(model)
    view._modules["embeddings"] = _GivenEmbeddings()
    parent = view
    *path, last = blocks[0].split(".")
    for name in path:
        parent._modules[name] = _shallow(parent._modules[name])
        parent = parent._modules[name]  # type: ignore[assignment]
    parent._modules[last] = nn.ModuleList(list(blocks[1])[start:])
    return view


def _shallow(module: nn.Module | None) -> nn.Module:
    """The module with its own table of children; the children themselves are shared."""
    view = copy.copy(module)
    if view is None:
        raise AssertionError("a block list has modules above it")
    view._modules = dict(view._modules)
    return view
