"""Edits of head outputs: which heads on which rows, made while an untouched model runs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from agentkit_attention.calls import AttentionCall, Pairs, SiteKey
from agentkit_attention.errors import SiteNotHitError, UnsupportedAttentionError
from agentkit_attention.intercept import watching
from agentkit_attention.skip_layer import SKIP, require_whole_blocks, skipping
from agentkit_attention.technique_table import technique_info
from agentkit_attention.techniques import KERNELS, EditState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from agentkit_attention.sites import Head, SiteTable

BLOCK = 1 << 20
"""Numbers of head output that an edit works on at once."""

NEEDS_ITEMS = ("resample", "noise")
"""Techniques that must know which item a row belongs to."""


@dataclass(frozen=True)
class Condition:
    """One perturbed variant: these heads, this technique, this strength.

    Attributes:
        name: what measurements call it.
        heads: the heads edited together.
        technique: a name of `technique_table.TECHNIQUES`.
        strength: in the technique's own unit.
    """

    name: str
    heads: tuple[Head, ...]
    technique: str
    strength: float

    @property
    def untouched(self) -> bool:
        """Whether this strength leaves the model as it is, so that nothing need be computed."""
        return self.strength == technique_info(self.technique).untouched


@dataclass(frozen=True)
class Edit:
    """One head, one technique and one strength on a run of rows."""

    condition: Condition
    head: Head
    start: int
    n_items: int


def require_reachable(table: SiteTable, condition: Condition) -> None:
    """Refuse a condition whose technique does not fit the way its sites compute attention.

    Raises:
        UnsupportedAttentionError: attention written by hand, and the technique needs more than head outputs.
        ParamError: `skip_layer` on a part of a layer.
    """
    info = technique_info(condition.technique)
    if info.reads == "block":
        require_whole_blocks(table, condition.heads)
        return
    for head in condition.heads:
        if head.site.engine == "projection" and info.reads != "out":
            raise UnsupportedAttentionError(
                f"{head.name}: attention is written by hand there and only head outputs can be reached; "
                f"{info.name} needs its {info.reads}. Choose ablate, mean_ablate, resample, scale or noise"
            )


def whole_batch(condition: Condition, n_items: int) -> list[Edit]:
    """The condition's edits on all rows of a batch of its own."""
    return [Edit(condition, head, 0, n_items) for head in condition.heads]


def edited_pass(
    model: nn.Module,
    table: SiteTable,
    edits: Sequence[Edit],
    forward: Callable[[], Any],
    state: EditState,
    donors: Tensor,
    fit: Callable[[Edit, AttentionCall], Edit | None] | None = None,
    *,
    tiled: bool = False,
) -> Any:
    """What `forward` returns while edits are made; every edited site must be hit.

    Args:
        model: whose attention is edited; `forward` runs it once.
        table: its sites.
        edits: which heads, on which rows.
        forward: runs the model.
        state: what the techniques need to know.
        donors: for `resample`, another item for each item, int64 [n_items].
        fit: adapts an edit to the call it meets, drops it (None), or refuses.
        tiled: every call of a site counts as its first one.

    Raises:
        SiteNotHitError: an edited site was never computed.
    """
    skips = [e for e in edits if e.condition.technique == SKIP]
    by_site: dict[SiteKey, list[Edit]] = {}
    for edit in edits:
        if edit.condition.technique != SKIP:
            by_site.setdefault(edit.head.site.key, []).append(edit)
    sites = {k: e[0].head.site for k, e in by_site.items()}
    hit: set[SiteKey] = set()
    skipped: set[str] = set()

    def handle(call: AttentionCall) -> Tensor | None:
        if tiled:
            call.site = SiteKey(call.site.module)
        if call.site not in by_site:
            return None
        hit.add(call.site)
        mine = [e for e in (fit(e, call) if fit else e for e in by_site[call.site]) if e is not None]
        if not mine:
            return None
        own = call.engine != "projection" and not torch.is_grad_enabled()
        return apply_edits(call, mine, state, donors, in_place=own)

    with contextlib.ExitStack() as cleanup:
        for undo in skipping(model, skips, skipped):
            cleanup.callback(undo)
        if sites:
            cleanup.enter_context(
                watching(
                    model,
                    handle,
                    modules=[s.key.module for s in sites.values()],
                    projections=[s.projection for s in sites.values() if s.projection is not None],
                    early_bound=table.early_bound,
                )
            )
        output = forward()
    for block in {e.head.site.block for e in skips} - skipped:
        raise SiteNotHitError(f"{block}: this block did not run in this forward pass, so it was not skipped")
    for key, site in sites.items():
        if key not in hit:
            raise SiteNotHitError(
                f"{site.address}: its attention ({site.engine}) was never computed in this forward pass; "
                f"{len(hit)} of {len(sites)} requested sites were. Is the branch dead for this input?"
            )
    return output


def on_all_rows(edit: Edit, call: AttentionCall) -> Edit:
    """The edit on every row of a call that splits its items into several rows each (windows of an image)."""
    if edit.condition.technique in NEEDS_ITEMS:
        raise UnsupportedAttentionError(
            f"{call.site.module}: its {call.out.shape[0]} rows are not the {edit.n_items} items, so "
            f"{edit.condition.technique} cannot tell them apart; choose ablate, scale, identity or uniform"
        )
    return replace(edit, n_items=call.out.shape[0])


def apply_edits(
    call: AttentionCall, edits: Sequence[Edit], state: EditState, donors: Tensor, *, in_place: bool = False
) -> Tensor:
    """The call's head outputs [rows, heads, queries, dim] with every edit made; others keep their bits.

    With `in_place` they are the call's own tensor, and pairs are worked on in blocks, so that memory beyond
    plain attention stays small. `resample` reads other rows, so it always writes to a copy.
    """
    by_technique: dict[str, list[Edit]] = {}
    for edit in edits:
        by_technique.setdefault(edit.condition.technique, []).append(edit)
    out = call.out if in_place and "resample" not in by_technique else call.out.clone()
    most = max(1, BLOCK // call.out[0, 0].numel())
    for name, group in by_technique.items():
        pairs = pairs_of(call, group, donors)
        for start in range(0, len(pairs.rows), most):
            block = pairs if len(pairs.rows) <= most else pairs.block(start, start + most)
            out[block.rows, block.heads] = KERNELS[name](block, state).to(out.dtype)
    return out


def pairs_of(call: AttentionCall, edits: Sequence[Edit], donors: Tensor) -> Pairs:
    """All (row, head) pairs of edits of one technique."""
    device, n_items = call.out.device, edits[0].n_items
    starts = torch.tensor([e.start for e in edits], device=device)
    item = torch.arange(n_items, device=device)
    donor = donors.to(device) if len(donors) == n_items else item
    return Pairs(
        call=call,
        rows=(starts[:, None] + item).flatten(),
        heads=torch.tensor([e.head.head for e in edits], device=device).repeat_interleave(n_items),
        strength=torch.tensor([e.condition.strength for e in edits], device=device).repeat_interleave(
            n_items
        ),
        items=item.repeat(len(edits)),
        donors=(starts[:, None] + donor).flatten(),
    )
