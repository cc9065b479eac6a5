"""Noise on the inputs while training: masked tokens, noisy embeddings, adversarial style. Off in evaluation."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from agentkit.errors import ParamError
from agentkit_weight.errors import UnsupportedSiteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentkit import Unit
    from agentkit_weight.encoder import Encoder
    from agentkit_weight.tagging import Batch


class InputNoise:
    """No noise; the base of the kinds that have some."""

    @contextmanager
    def active(self, unit: Unit, encoder: Encoder) -> Iterator[None]:
        """Noise is on inside the block; all draws come from the unit's stream `input-noise`."""
        self.generator = unit.torch_generator("input-noise")
        yield

    def on_batch(self, batch: Batch) -> Batch:
        """The batch to train on."""
        return batch


class MaskTokens(InputNoise):
    """Each input token becomes [MASK] with probability p (MaskedThought); special tokens stay, labels too."""

    def __init__(self, p: float, mask_id: int, special_ids: frozenset[int]) -> None:
        self.p, self.mask_id = p, mask_id
        self.special = torch.tensor(sorted(special_ids), dtype=torch.long)

    def on_batch(self, batch: Batch) -> Batch:
        """The batch with masked ids."""
        ids = batch.inputs
        hit = (torch.rand(ids.shape, generator=self.generator) < self.p).to(ids.device)
        hit &= batch.keep & ~torch.isin(ids, self.special.to(ids.device))
        return replace(batch, inputs=ids.masked_fill(hit, self.mask_id))


class NoisyEmbeddings(InputNoise):
    """Embeddings + U(-1, 1) alpha / sqrt(t d) while training (NEFTune, Jain et al. 2023)."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    @contextmanager
    def active(self, unit: Unit, encoder: Encoder) -> Iterator[None]:
        """The word embeddings are hooked inside the block."""
        find = getattr(encoder.model, "get_input_embeddings", None)
        if find is None:
            raise UnsupportedSiteError(
                f"neftune: {type(encoder.model).__name__} has no get_input_embeddings(); use token_mask instead"
            )
        with super().active(unit, encoder):
            handle = find().register_forward_hook(self._add)
            try:
                yield
            finally:
                handle.remove()

    def _add(self, module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        noise = torch.rand(output.shape, generator=self.generator).to(output.device) * 2 - 1
        scale = self.alpha / math.sqrt(output.shape[-2] * output.shape[-1])
        return output + (noise * scale).to(output.dtype)


class AdversarialStyle(InputNoise):
    """Each channel's mean and spread over a string's words, moved as far as was learnt to hurt (AdvStyle, YBZh).

    With mu and sigma of a string's states x (real tokens only): x' = (sigma + n2 S_sigma)(x - mu) / sigma + mu + n1 S_mu,
    n standard normal per string and channel. S starts as the spread of mu and sigma between the strings of the first
    moved batch and then climbs the training loss, by Adam with `RATE`.
    """

    RATE, SMALLEST_SPREAD = 2e-3, 1e-6

    def __init__(self, p: float) -> None:
        self.p = p
        self.sizes: tuple[torch.Tensor, ...] = ()
        self._moved: tuple[torch.Tensor, torch.Tensor] | None = None

    @contextmanager
    def active(self, unit: Unit, encoder: Encoder) -> Iterator[None]:
        """Hidden states must reach the trained layers as numbers, not as token ids."""
        if not encoder.cached:
            raise UnsupportedSiteError(
                f"advstyle moves the states that enter the trained layers, and {type(encoder.model).__name__} cannot be "
                "run from there; use neftune or token_mask instead"
            )
        self.sizes, self._moved = (), None
        with super().active(unit, encoder):
            yield

    def on_batch(self, batch: Batch) -> Batch:
        """The batch, moved with probability p; what the last one taught is learnt first."""
        self._climb()
        if float(torch.rand((), generator=self.generator)) >= self.p:
            return batch
        moved = self._styled(batch.inputs.float(), batch.keep[..., None].float())
        entering = moved.to(batch.inputs.dtype).detach().requires_grad_()  # a step may pass backward twice
        self._moved = moved, entering
        return replace(batch, inputs=entering)

    def _styled(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        count = keep.sum(1, keepdim=True)
        mean = (x * keep).sum(1, keepdim=True) / count
        spread = (((x - mean).square() * keep).sum(1, keepdim=True) / count).sqrt() + self.SMALLEST_SPREAD
        if not self.sizes:
            self.sizes = tuple(v.std(0, correction=0).requires_grad_() for v in (mean, spread))
            self._adam = torch.optim.Adam(self.sizes, lr=self.RATE, maximize=True)
        draw = torch.randn((2, *mean.shape), generator=self.generator).to(x.device)
        by, to = (size * n for size, n in zip(self.sizes, draw, strict=True))
        styled: torch.Tensor = (spread + to) * (x - mean) / spread + mean + by
        return styled

    def _climb(self) -> None:
        if self._moved is None:
            return
        (moved, entering), self._moved = self._moved, None
        if entering.grad is not None:
            self._adam.zero_grad()
            moved.backward(entering.grad.float())  # type: ignore[no-untyped-call]
            self._adam.step()


def mask_tokens(tokenizer: Any, p: float) -> MaskTokens:
    """`MaskTokens` with this tokenizer's ids.

    Raises:
        ParamError: it has no [MASK] token.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    mask = backend.token_to_id("[MASK]")
    if mask is None:
        raise ParamError("token_mask: this tokenizer has no [MASK] token; use neftune instead")
    special = frozenset(i for i, t in backend.get_added_tokens_decoder().items() if t.special)
    return MaskTokens(p, mask, special - {mask})
