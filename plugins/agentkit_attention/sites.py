"""Which heads a model has: found by watching one forward pass, named, and picked by pattern.

Names:
    canonical  `encoder.layer.3/h5`: path of the block (of the attention module where a block holds
               several), then the head; `…#2/h5` for the third call of a module that is called repeatedly.
    short      `L3.H5`, where all attention sits in one stack.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from agentkit.errors import near_names
from agentkit_attention.errors import UnknownSiteError, UnsupportedAttentionError
from agentkit_attention.intercept import Projection, watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agentkit_attention.calls import AttentionCall, SiteKey

HEAD_COUNTS = ("num_attention_heads", "num_heads", "n_heads", "n_head", "heads", "nhead", "num_attn_heads")
"""Names under which hand-written attention keeps its number of heads."""

OUTPUT_PROJECTIONS = (
    "o_proj", "out_proj", "c_proj", "proj", "out_lin", "to_out.0", "to_out", "wo", "w_o", "dense", "out", "o",
    "proj_out", "output.dense", "fc_out", "output", "post_proj",
)  # fmt: skip
"""Names under which hand-written attention keeps its output projection, the likelier first."""

_INPUT_NAME = re.compile(r"(^|[._])(q|k|v|qkv|query|key|value|pos|rel|in_proj)", re.IGNORECASE)
_RANGE = re.compile(r"^(.*[hH])(\d+)-(\d+)$")


@dataclass(frozen=True)
class Site:
    """One attention call of a forward pass.

    Attributes:
        key: module path and call number.
        address: canonical name without the head.
        block: path of the innermost list element that holds it: what is repeated in the stack.
        layer: place of its block in the stack, from 0.
        heads, kv_heads, head_dim, queries, keys: sizes seen in the watched pass.
        engine: `interface`, `sdpa`, `mha` or `projection`.
        short: whether `L{layer}.H{head}` names its heads.
        projection: how a hand-written attention is reached.
    """

    key: SiteKey
    address: str
    block: str
    layer: int
    heads: int
    kv_heads: int
    head_dim: int
    queries: int
    keys: int
    engine: str
    short: bool
    projection: Projection | None = None


@dataclass(frozen=True, order=True)
class Head:
    """One head of one site; sorts by the order of execution."""

    order: int
    head: int
    site: Site

    @property
    def canonical(self) -> str:
        """`encoder.layer.3/h5`."""
        return f"{self.site.address}/h{self.head}"

    @property
    def name(self) -> str:
        """`L3.H5` where one stack exists, else the canonical name."""
        return f"L{self.site.layer}.H{self.head}" if self.site.short else self.canonical


class SiteTable:
    """All attention sites of a model in the order they run.

    Attributes:
        sites: every site.
        refused: attention modules that ran but cannot be reached, with the reason.
        early_bound: whether some call is only seen through torch's function mode.
    """

    def __init__(
        self, sites: Sequence[Site], refused: dict[str, str] | None = None, early_bound: bool = False
    ) -> None:
        self.sites = tuple(sites)
        self.refused = dict(refused or {})
        self.early_bound = early_bound
        self.heads = tuple(Head(i, h, s) for i, s in enumerate(self.sites) for h in range(s.heads))

    def select(self, pattern: str) -> list[Head]:
        """Heads whose short or canonical name matches, in the order they run, each once.

        Args:
            pattern: names or globs, separated by commas or spaces: `L*.H*`, `L3.H2, L4.H0-5`, `*.3/h5`;
                `L-1.H*` counts layers from the end.

        Raises:
            UnknownSiteError: a part matches nothing; near names are offered.
            UnsupportedAttentionError: a part names attention that ran but cannot be reached.
        """
        chosen: set[Head] = set()
        layers = 1 + max((s.layer for s in self.sites if s.short), default=-1)
        for part in (p for p in re.split(r"[,\s]+", pattern) if p):
            found = [h for p in _ranges(from_the_end(part, layers)) for h in self.heads if _matches(h, p)]
            if not found:
                raise self._unknown(part)
            chosen.update(found)
        if not chosen:
            raise self._unknown(pattern)
        return sorted(chosen, key=lambda h: (h.order, h.head))

    def _unknown(self, part: str) -> Exception:
        path = part.rpartition("/")[0]
        for module, reason in self.refused.items():
            if not self.heads or (path and fnmatchcase(module, path)):
                return UnsupportedAttentionError(f"{module}: {reason}")
        names = [h.name for h in self.heads]
        last = f" The last one is {names[-1]}." if names else ""
        return UnknownSiteError(
            f"no head matches {part!r}. {near_names(part, names)}{last} "
            "List them with the tool attention.sites, or write * for all."
        )


def find_sites(model: nn.Module, forward: Callable[[], Any]) -> SiteTable:
    """Watch one forward pass and name every attention call in it.

    Args:
        model: left untouched.
        forward: runs the model once on any small input.

    Raises:
        UnsupportedAttentionError: no attention was seen at all.
    """
    ran: set[str] = set()
    with contextlib.ExitStack() as cleanup:
        for n, m in model.named_modules():
            cleanup.callback(m.register_forward_pre_hook(lambda _m, _a, n=n: ran.add(n)).remove)
        calls = _watched(model, forward, early_bound=True)
    early_bound = len(_watched(model, forward, early_bound=False)) < len(calls)
    seen = {c.site.module for c in calls}
    by_hand = _by_hand(model, calls, ran)
    projections = {n: p for n, p in by_hand.items() if p is not None}
    refused = dict.fromkeys(
        (n for n, p in by_hand.items() if p is None),
        "attention is written by hand and its output projection was not found",
    )
    refused |= {
        n: "nn.MultiheadAttention was called with need_weights=True, which computes the map by hand; "
        "call it with need_weights=False"
        for n, m in model.named_modules()
        if isinstance(m, nn.MultiheadAttention) and n in ran and n not in seen
    }
    hand_calls = _watched(model, forward, modules=(), projections=projections.values()) if projections else []
    table = _named(_in_order(model, calls, hand_calls), projections)
    if not table and not refused:
        raise UnsupportedAttentionError(
            f"{type(model).__name__}: no attention was seen in a forward pass, neither through "
            "scaled_dot_product_attention nor through a known output projection"
        )
    return SiteTable(table, refused, early_bound)


def _watched(model: nn.Module, forward: Callable[[], Any], **options: Any) -> list[AttentionCall]:
    calls: list[AttentionCall] = []
    with torch.no_grad(), watching(model, calls.append, **options):
        forward()
    return calls


def _in_order(
    model: nn.Module, calls: Sequence[AttentionCall], by_hand: Sequence[AttentionCall]
) -> list[AttentionCall]:
    """All calls; hand-written ones are sorted in by the order their modules are declared in."""
    if not by_hand:
        return list(calls)
    if not calls:
        return list(by_hand)
    declared = {n: i for i, (n, _) in enumerate(model.named_modules())}
    return sorted([*calls, *by_hand], key=lambda c: (c.site.call, declared[c.site.module]))


def _named(calls: Sequence[AttentionCall], projections: dict[str, Projection]) -> list[Site]:
    repeated = {c.site.module for c in calls if c.site.call > 0}
    outer = [_outer_block(c.site) for c in calls]
    stacks = {o.rpartition(".")[0] for o in outer}
    single = len(stacks) == 1 and len({(o, c.site.call) for o, c in zip(outer, calls, strict=True)}) == len(
        calls
    )
    if repeated and len({c.site.module for c in calls}) > 1:
        single = False
    sites = []
    for i, (call, block) in enumerate(zip(calls, outer, strict=True)):
        place = block.rpartition(".")[2]
        alone = outer.count(block) == 1 and block != ""
        address = block if alone else call.site.module
        if call.site.module in repeated:
            address = f"{call.site.module}#{call.site.call}"
        sites.append(
            Site(
                key=call.site,
                address=address,
                block=_inner_block(call.site.module),
                layer=call.site.call if repeated and single else int(place) if place.isdigit() else i,
                heads=call.out.shape[1],
                kv_heads=call.out.shape[1] if call.k is None else call.k.shape[1],
                head_dim=call.out.shape[3],
                queries=call.out.shape[2],
                keys=call.out.shape[2] if call.k is None else call.k.shape[2],
                engine=call.engine,
                short=single,
                projection=projections.get(call.site.module),
            )
        )
    return sites


def _outer_block(site: SiteKey) -> str:
    """`encoder.block.3` of `encoder.block.3.layer.0.SelfAttention`: up to the first number in the path."""
    parts = site.module.split(".")
    at = next((i for i, p in enumerate(parts) if p.isdigit()), None)
    return site.module if at is None else ".".join(parts[: at + 1])


def _inner_block(module: str) -> str:
    """`stages.1.blocks.3` of `stages.1.blocks.3.attn`: up to the last number in the path."""
    parts = module.split(".")
    at = next((i for i in reversed(range(len(parts))) if parts[i].isdigit()), None)
    return module if at is None else ".".join(parts[: at + 1])


def _by_hand(model: nn.Module, calls: Sequence[AttentionCall], ran: set[str]) -> dict[str, Projection | None]:
    """Attention modules that ran without any fused call inside them, and where their heads come out."""
    seen = [c.site.module for c in calls]
    found: dict[str, Projection | None] = {}
    for name, module in model.named_modules():
        if name not in ran or "attention" not in _family(module) or isinstance(module, nn.MultiheadAttention):
            continue
        if any(s == name or s.startswith(name + ".") for s in seen):
            continue
        heads = _head_count(module)
        if heads > 0 and not any(p.startswith(name + ".") for p in found):
            found[name] = _projection(name, module, heads, ran)
    return found


def _head_count(module: nn.Module) -> int:
    """Heads that hand-written attention says it has, itself or through its config; 0 when it says nothing."""
    projects = any(isinstance(child, nn.Linear) for child in module.children())  # not a mere wrapper
    for holder in (module, getattr(module, "config", None) if projects else None):
        for name in HEAD_COUNTS:
            if isinstance(count := getattr(holder, name, None), int):
                return count
    return 0


def _family(module: nn.Module) -> str:
    name = type(module).__name__.lower()
    return "attention" if "attention" in name or "attn" in name else name


def _projection(name: str, module: nn.Module, heads: int, ran: set[str]) -> Projection | None:
    """The output projection, or the module's own output where it only holds inputs' projections."""
    for child in OUTPUT_PROJECTIONS:
        path = f"{name}.{child}" if name else child
        part = dict(module.named_modules()).get(child)
        weight = getattr(part, "weight", None)
        if path in ran and weight is not None and weight.dim() == 2:
            return Projection(name, path, heads)
    linear = [n for n, m in module.named_modules() if getattr(getattr(m, "weight", None), "ndim", 0) == 2]
    if linear and all(_INPUT_NAME.search(n) for n in linear):
        return Projection(name, name, heads, output=True)
    return None


def from_the_end(part: str, layers: int) -> str:
    """`L-1.H3` as `L5.H3` where a model has six layers; any other text as it is."""
    match = re.match(r"L-(\d+)", part)
    return f"L{layers - int(match[1])}{part[match.end() :]}" if match else part


def _ranges(part: str) -> Iterator[str]:
    """`L4.H0-5` as six names; any other text as it is."""
    if not (match := _RANGE.match(part)):
        yield part
        return
    stem, first, last = match[1], int(match[2]), int(match[3])
    yield from (f"{stem}{i}" for i in range(first, last + 1))


def _matches(head: Head, pattern: str) -> bool:
    return fnmatchcase(head.name, pattern) or fnmatchcase(head.canonical, pattern)
