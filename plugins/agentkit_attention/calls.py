"""One attention call as an edit sees it, and the (row, head) pairs that an edit touches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch

from agentkit_attention.errors import UnsupportedAttentionError

if TYPE_CHECKING:
    from torch import Tensor

LOWEST_ALLOWED = 0.5
"""A float mask allows a key when its bias lies above this share of the dtype's minimum."""


class SiteKey(NamedTuple):
    """Which attention call of a forward pass: the module's path and its how-manieth call."""

    module: str
    call: int = 0


@dataclass
class AttentionCall:
    """What one attention computed and from what.

    Attributes:
        site: which call this is.
        out: head outputs [rows, heads, queries, dim].
        q, k, v: [rows, heads, tokens, dim], keys and values unexpanded for grouped heads; None where the
            model computes attention by hand and only its output projection can be reached.
        mask: None, or broadcastable to [rows, heads, queries, keys]: boolean (True = allowed) or additive.
        causal: top-left aligned causal mask on top of `mask`.
        scale: factor on the logits.
        engine: `interface`, `sdpa`, `mha` or `projection`.
        opaque: why the logits cannot be formed from q, k and mask alone, or empty.
    """

    site: SiteKey
    out: Tensor
    q: Tensor | None
    k: Tensor | None
    v: Tensor | None
    mask: Tensor | None
    causal: bool
    scale: float
    engine: str
    opaque: str = ""


@dataclass
class Pairs:
    """The (row, head) pairs one edit touches in one attention call, gathered when they are needed.

    Attributes:
        rows, heads: int64 [pairs].
        strength: float [pairs].
        items: which item of the unit each pair belongs to, int64 [pairs].
        donors: for `resample`, the row whose head output replaces this pair's, int64 [pairs].
    """

    call: AttentionCall
    rows: Tensor
    heads: Tensor
    strength: Tensor
    items: Tensor
    donors: Tensor

    @cached_property
    def out(self) -> Tensor:
        """Untouched head outputs [pairs, queries, dim]."""
        return self.call.out[self.rows, self.heads]

    @cached_property
    def q(self) -> Tensor:
        """Queries [pairs, queries, dim]."""
        return self._need(self.call.q)[self.rows, self.heads]

    @cached_property
    def k(self) -> Tensor:
        """Keys [pairs, keys, dim] of each query head's own group."""
        return self._grouped(self._need(self.call.k))

    @cached_property
    def v(self) -> Tensor:
        """Values [pairs, keys, dim] of each query head's own group."""
        return self._grouped(self._need(self.call.v))

    @cached_property
    def mask(self) -> Tensor | None:
        """The mask of each pair [pairs, queries or 1, keys], causal part included, or None."""
        mask = self.call.mask
        if mask is not None:
            mask = mask[(None,) * (4 - mask.dim())]
            rows = self.rows if mask.shape[0] > 1 else torch.zeros_like(self.rows)
            heads = self.heads if mask.shape[1] > 1 else torch.zeros_like(self.heads)
            mask = mask[rows, heads]
        if not self.call.causal:
            return mask
        n_queries, n_keys = self._need(self.call.q).shape[2], self._need(self.call.k).shape[2]
        causal = torch.ones(n_queries, n_keys, dtype=torch.bool, device=self.rows.device).tril()[None]
        if mask is None:
            return causal
        return mask & causal if mask.dtype == torch.bool else mask.masked_fill(~causal, -torch.inf)

    @cached_property
    def allowed(self) -> Tensor | None:
        """Which keys each query may see, boolean [pairs, queries or 1, keys], or None for all."""
        mask = self.mask
        if mask is None or mask.dtype == torch.bool:
            return mask
        return mask > LOWEST_ALLOWED * torch.finfo(mask.dtype).min

    def per_pair(self, values: Tensor | None = None) -> Tensor:
        """Strength, or other values [pairs], shaped to scale [pairs, queries, dim]."""
        return (self.strength if values is None else values)[:, None, None].to(self.call.out.dtype)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None = None
    ) -> Tensor:
        """Fused attention of single heads [pairs, …]; `scale` is the call's own unless said."""
        if self.call.opaque:
            raise UnsupportedAttentionError(
                f"{self.call.site.module}: its logits use {self.call.opaque}; choose a technique that leaves the "
                "map alone (identity, uniform, ablate, mean_ablate, resample, scale, noise)"
            )
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, scale=self.call.scale if scale is None else scale
        )

    def block(self, start: int, stop: int) -> Pairs:
        """The pairs from `start` up to `stop`."""
        part = slice(start, stop)
        return Pairs(
            self.call,
            self.rows[part],
            self.heads[part],
            self.strength[part],
            self.items[part],
            self.donors[part],
        )

    def _grouped(self, tensor: Tensor) -> Tensor:
        heads_per_group = self.call.out.shape[1] // tensor.shape[1]
        return tensor[self.rows, self.heads // heads_per_group]

    def _need(self, tensor: Tensor | None) -> Tensor:
        if tensor is None:
            raise UnsupportedAttentionError(
                f"{self.call.site.module} computes attention by hand, so only its output projection can be reached: "
                "choose ablate, mean_ablate, resample, scale or noise"
            )
        return tensor
