"""What each technique makes of the head outputs of some (row, head) pairs. No attention map is ever built.

With A the attention map and V the values, a technique that swaps the map for T is
((1 - u) A + u T) V = lerp(AV, TV, u), so the model's own fused attention stays on and only the pairs
that were asked for pay. The one exception is `max`, which needs the logits of its pairs.

Sources: SoftPAG identity, uniform, SEG mean, temperature and max: arXiv 2506.10978 (HeadHunter);
`identity` at u = 1 is PAG, arXiv 2403.17377; `seg_blur`: arXiv 2408.00760.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch

from agentkit.errors import ParamError
from agentkit_attention.errors import NoJointStreamError, NotSelfAttentionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from agentkit_attention.calls import Pairs, SiteKey

MAX_LOGIT_ROWS = 256
"""Queries whose logits `max` holds at once, per pair."""


@dataclass
class EditState:
    """What some techniques need to know beyond the call itself.

    Attributes:
        keep: which tokens of each item are real, boolean [items, tokens]; None for all.
        means: mean head output over a calibration set, [heads, dim] by site (`mean_ablate`).
        noise: standard normal draws [items, queries, dim] for one head of one site (`noise`).
        image_rows: (start, stop) of the image tokens among the queries, by site; none when unknown.
        grid: height and width of the image tokens.
    """

    keep: Tensor | None = None
    means: dict[SiteKey, Tensor] = field(default_factory=dict)
    noise: Callable[[SiteKey, int, tuple[int, int]], Tensor] | None = None
    image_rows: Mapping[SiteKey, tuple[int, int]] = field(default_factory=dict)
    grid: tuple[int, int] | None = None


Technique = Callable[["Pairs", EditState], "Tensor"]


def ablate(pairs: Pairs, state: EditState) -> Tensor:
    """The head's output shrunk towards zero: (1 - u) AV."""
    return pairs.out * (1 - pairs.per_pair())


def mean_ablate(pairs: Pairs, state: EditState) -> Tensor:
    """The head's output moved towards its mean over the calibration set."""
    mean = state.means[pairs.call.site].to(pairs.out)[pairs.heads]
    return torch.lerp(pairs.out, mean[:, None, :].expand_as(pairs.out), pairs.per_pair())


def resample(pairs: Pairs, state: EditState) -> Tensor:
    """The head's output moved towards that of another item of the unit."""
    return torch.lerp(pairs.out, pairs.call.out[pairs.donors, pairs.heads], pairs.per_pair())


def scale(pairs: Pairs, state: EditState) -> Tensor:
    """The head's output times s."""
    return pairs.out * pairs.per_pair()


def noise(pairs: Pairs, state: EditState) -> Tensor:
    """AV + sigma · std · eps, with std per item and head over unpadded tokens."""
    if state.noise is None:
        raise ParamError("noise: nothing was given to draw it from")
    shape = (pairs.out.shape[1], pairs.out.shape[2])
    eps = torch.empty_like(pairs.out)
    for head in sorted(set(pairs.heads.tolist())):
        chosen = pairs.heads == head
        eps[chosen] = state.noise(pairs.call.site, head, shape).to(eps)[pairs.items[chosen]]
    return pairs.out + pairs.per_pair() * pairs.per_pair(_std(pairs, state)) * eps


def identity(pairs: Pairs, state: EditState) -> Tensor:
    """SoftPAG: every query attends to itself only, T V = V."""
    call = pairs.call
    n_queries, n_keys = pairs.out.shape[1], pairs.v.shape[1]
    if n_queries != n_keys:
        raise NotSelfAttentionError(
            f"{call.site.module}: identity needs self-attention, but {n_queries} queries meet {n_keys} keys; "
            "turn the KV cache off (use_cache=False), or choose uniform"
        )
    return torch.lerp(pairs.out, pairs.v, pairs.per_pair())


def uniform(pairs: Pairs, state: EditState) -> Tensor:
    """SoftUG: every query attends evenly to the keys it may see; a row that may see none keeps its output."""
    allowed = pairs.allowed
    if allowed is None:
        return torch.lerp(pairs.out, pairs.v.mean(1, keepdim=True).expand_as(pairs.out), pairs.per_pair())
    weight = allowed.to(pairs.v.dtype)
    count = weight.sum(-1, keepdim=True)
    mean = torch.where(count > 0, weight @ pairs.v / count.clamp(min=1), pairs.out)
    return torch.lerp(pairs.out, mean, pairs.per_pair())


def seg_mean(pairs: Pairs, state: EditState) -> Tensor:
    """SoftSEG: every query is replaced by the mean query (over image rows where they are known)."""
    start, stop = state.image_rows.get(pairs.call.site, (0, pairs.q.shape[1]))
    keep = _keep(pairs, state, pairs.q.shape[1])[:, start:stop]
    weight = keep / keep.sum(1, keepdim=True)
    mean = torch.einsum("ps,psd->pd", weight, pairs.q[:, start:stop])
    q = pairs.q.clone()
    q[:, start:stop] = mean[:, None, :]
    return _image_rows_only(pairs, state, pairs.attend(q, pairs.k, pairs.v, pairs.mask), pairs.per_pair())


def seg_blur(pairs: Pairs, state: EditState) -> Tensor:
    """SEG: queries blurred over the image grid by a Gaussian of standard deviation sigma, in grid steps."""
    start, stop, height, width = _image_grid(pairs, state)
    q = pairs.q.clone()
    for sigma in sorted(set(pairs.strength.tolist())):
        chosen = pairs.strength == sigma
        image = q[chosen, start:stop].reshape(-1, height, width, q.shape[2])
        rows, columns = _gaussian(height, sigma, q), _gaussian(width, sigma, q)
        q[chosen, start:stop] = torch.einsum("yi,xj,pijd->pyxd", rows, columns, image).flatten(1, 2)
    blurred = pairs.attend(q, pairs.k, pairs.v, pairs.mask)
    return _image_rows_only(pairs, state, blurred, pairs.per_pair(torch.ones_like(pairs.strength)))


def temperature(pairs: Pairs, state: EditState) -> Tensor:
    """softmax(log A / tau): the logits, mask bias included, divided by tau."""
    tau = pairs.per_pair()
    mask = pairs.mask
    if mask is not None and mask.dtype != torch.bool:
        mask = mask / tau
    return _seeing(pairs, pairs.attend(pairs.q / tau, pairs.k, pairs.v, mask))


def max_(pairs: Pairs, state: EditState) -> Tensor:
    """SoftMG: every query attends only to its strongest key, the first one on ties."""
    best = []
    for start in range(0, pairs.q.shape[1], MAX_LOGIT_ROWS):
        chunk = slice(start, start + MAX_LOGIT_ROWS)
        logits = pairs.q[:, chunk] @ pairs.k.transpose(1, 2) * pairs.call.scale
        if (mask := pairs.mask) is not None:
            part = mask if mask.shape[1] == 1 else mask[:, chunk]
            logits = logits.masked_fill(~part, -torch.inf) if mask.dtype == torch.bool else logits + part
        best.append(logits.argmax(-1))
    _refuse_opaque(pairs)
    index = torch.cat(best, 1)[..., None].expand(-1, -1, pairs.v.shape[2])
    return torch.lerp(pairs.out, _seeing(pairs, pairs.v.gather(1, index)), pairs.per_pair())


def joint_identity(pairs: Pairs, state: EditState) -> Tensor:
    """Diffusers' PAG on a joint stream: an image row keeps itself and all text; text rows are unchanged."""
    start, stop = _joint_rows(pairs, state)
    n = pairs.q.shape[1]
    allowed = torch.ones(n, n, dtype=torch.bool, device=pairs.q.device)
    allowed[start:stop, start:stop] = torch.eye(stop - start, dtype=torch.bool, device=pairs.q.device)
    swapped = pairs.attend(pairs.q, pairs.k, pairs.v, _both(pairs.mask, allowed))
    return _image_rows_only(pairs, state, swapped, pairs.per_pair())


def ii_renorm(pairs: Pairs, state: EditState) -> Tensor:
    """HeadHunter's renormalised image block: an image row's whole image mass goes to itself."""
    start, stop = _joint_rows(pairs, state)
    is_image = torch.zeros(pairs.v.shape[1], 1, device=pairs.v.device, dtype=pairs.v.dtype)
    is_image[start:stop] = 1
    text_part = pairs.attend(pairs.q, pairs.k, pairs.v * (1 - is_image), pairs.mask)
    ones = is_image[None].expand_as(pairs.v)
    mass = pairs.attend(pairs.q, pairs.k, ones.contiguous(), pairs.mask)
    return _image_rows_only(pairs, state, text_part + mass * pairs.v, pairs.per_pair())


def block_zero(pairs: Pairs, state: EditState, *, rows: str, keys: str) -> Tensor:
    """HeadHunter's zeroed block: `rows` (i or t) no longer see `keys`; the rest of each row is not renormalised."""
    start, stop = _joint_rows(pairs, state)
    is_image = torch.zeros(pairs.v.shape[1], 1, device=pairs.v.device, dtype=torch.bool)
    is_image[start:stop] = True
    kept = ~is_image if keys == "i" else is_image
    part = _seeing(pairs, pairs.attend(pairs.q, pairs.k, pairs.v * kept, pairs.mask))
    chosen = is_image if rows == "i" else ~is_image
    return torch.where(chosen, torch.lerp(pairs.out, part, pairs.per_pair()), pairs.out)


KERNELS: dict[str, Technique] = {
    "ablate": ablate,
    "mean_ablate": mean_ablate,
    "resample": resample,
    "scale": scale,
    "noise": noise,
    "identity": identity,
    "uniform": uniform,
    "seg_mean": seg_mean,
    "seg_blur": seg_blur,
    "temperature": temperature,
    "max": max_,
    "joint_identity": joint_identity,
    "ii_renorm": ii_renorm,
    "block_zero_ii": partial(block_zero, rows="i", keys="i"),
    "block_zero_it": partial(block_zero, rows="i", keys="t"),
    "block_zero_ti": partial(block_zero, rows="t", keys="i"),
    "block_zero_tt": partial(block_zero, rows="t", keys="t"),
}


def _keep(pairs: Pairs, state: EditState, n_tokens: int) -> Tensor:
    """Which tokens of each pair's item are real, as 0 and 1 [pairs, tokens]."""
    if state.keep is None or state.keep.shape[1] != n_tokens:
        return torch.ones(len(pairs.rows), n_tokens, device=pairs.out.device, dtype=pairs.out.dtype)
    return state.keep[pairs.items].to(pairs.out.dtype)


def _std(pairs: Pairs, state: EditState) -> Tensor:
    keep = _keep(pairs, state, pairs.out.shape[1])[..., None]
    count = keep.sum(1, keepdim=True) * pairs.out.shape[2]
    mean = (pairs.out * keep).sum((1, 2), keepdim=True) / count
    return ((pairs.out - mean).square() * keep).sum((1, 2)).div(count[:, 0, 0]).sqrt()


def _image_rows_only(pairs: Pairs, state: EditState, new: Tensor, u: Tensor) -> Tensor:
    """Move towards `new` on the image rows and leave the text rows as they are."""
    new = _seeing(pairs, new)
    if pairs.call.site not in state.image_rows:
        return torch.lerp(pairs.out, new, u)
    start, stop = state.image_rows[pairs.call.site]
    out = pairs.out.clone()
    out[:, start:stop] = torch.lerp(pairs.out[:, start:stop], new[:, start:stop], u)
    return out


def _seeing(pairs: Pairs, new: Tensor) -> Tensor:
    """`new`, but the untouched output in rows that may see no key at all."""
    if (allowed := pairs.allowed) is None:
        return new
    return torch.where(allowed.any(-1, keepdim=True), new, pairs.out)


def _joint_rows(pairs: Pairs, state: EditState) -> tuple[int, int]:
    rows = state.image_rows.get(pairs.call.site)
    if rows is None or rows[1] - rows[0] == pairs.out.shape[1]:
        raise NoJointStreamError(
            f"{pairs.call.site.module}: this attention has no text rows beside its image rows; use identity"
        )
    return rows


def _image_grid(pairs: Pairs, state: EditState) -> tuple[int, int, int, int]:
    start, stop = state.image_rows.get(pairs.call.site, (0, pairs.q.shape[1]))
    height, width = state.grid or (math.isqrt(stop - start), math.isqrt(stop - start))
    if height * width != stop - start:
        raise NoJointStreamError(
            f"{pairs.call.site.module}: {stop - start} image rows do not make a grid; use seg_mean"
        )
    return start, stop, height, width


def _gaussian(n: int, sigma: float, like: Tensor) -> Tensor:
    """Blur over n places [n, n], every row summing to one, so both ends are exact without padding."""
    at = torch.arange(n, device=like.device, dtype=like.dtype)
    weight = torch.exp(-((at[:, None] - at).square()) / (2 * sigma * sigma))
    return weight / weight.sum(1, keepdim=True)


def _both(mask: Tensor | None, allowed: Tensor) -> Tensor:
    if mask is None:
        return allowed[None]
    return mask & allowed if mask.dtype == torch.bool else mask.masked_fill(~allowed, -torch.inf)


def _refuse_opaque(pairs: Pairs) -> None:
    if pairs.call.opaque:
        pairs.attend(pairs.q, pairs.k, pairs.v, None)
