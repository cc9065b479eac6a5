"""The engine: measure every condition of a batch on an untouched model, in one pass where that is possible."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from agentkit_attention.calls import AttentionCall, Pairs, SiteKey
from agentkit_attention.errors import MemoryBudgetError, SiteNotHitError, UnsupportedAttentionError
from agentkit_attention.intercept import watching
from agentkit_attention.skip_layer import SKIP, require_whole_blocks, skipping
from agentkit_attention.spawn import CannotSpawnError, RowPlan, spawn_hooks
from agentkit_attention.technique_table import technique_info
from agentkit_attention.techniques import KERNELS, EditState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from agentkit_attention.sites import Head, Site, SiteTable

    Collect = Callable[[Any, Tensor], Tensor]

SELF_CHECK = 1e-5
"""Largest relative difference between the untouched rows of a shared pass and a plain pass."""

BLOCK = 1 << 20
"""Numbers of head output that an edit works on at once."""

TILE_BYTES, WIDENING, FEWEST_TOKENS = 6 << 20, 4, 256
"""Size of the widest activations of a tile, how much wider they are than hidden states, and its fewest tokens."""

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


@dataclass
class Trace:
    """What happened in a sweep; goes to an artifact, never into measurements.

    Attributes:
        engine: `spawn`, `loop`, and how often each was used.
        reasons: why a shared pass was given up.
        hits: how often each site's attention was edited.
    """

    engine: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Plain counts by name."""
        return {"engine": dict(self.engine), "reasons": dict(self.reasons), "hits": dict(self.hits)}


@dataclass(frozen=True)
class Edit:
    """One head, one technique and one strength on a run of rows."""

    condition: Condition
    head: Head
    start: int
    n_items: int


class HeadSweep:
    """Perturbs heads of one model.

    Args:
        model: any module; it is left untouched.
        table: its sites.
        memory_mb: budget for one shared pass, in MiB.
    """

    def __init__(self, model: nn.Module, table: SiteTable, memory_mb: int = 2048) -> None:
        self.model = model
        self.table = table
        self.memory_mb = memory_mb
        self.trace = Trace()

    def run(
        self,
        inputs: Mapping[str, Any],
        n_items: int,
        conditions: Sequence[Condition],
        collect: Collect,
        state: EditState | None = None,
        donors: Tensor | None = None,
        *,
        engine: str | None = None,
        floats_per_row: int = 0,
    ) -> Tensor:
        """What `collect` makes of the untouched batch and of every condition.

        Args:
            inputs: keyword arguments of the model for a batch of `n_items` rows.
            n_items: rows of the batch.
            conditions: any order; a condition at untouched strength is not computed.
            collect: `collect(output, items) -> [rows, …]`, where `items` says which item each row copies.
            state: what the techniques need to know.
            donors: for `resample`, another item for each item, int64 [n_items].
            engine: `spawn` or `loop` to force one; else the cheaper.
            floats_per_row: numbers that `collect` looks at per row, for the memory budget (all logits, say).

        Returns:
            [1 + conditions, n_items, …], the untouched batch first.

        Raises:
            SiteNotHitError: a condition's head was never computed.
            UnsupportedAttentionError: the technique does not fit the way a site computes attention.
            MemoryBudgetError: one condition alone passes the budget.
        """
        state = state or EditState()
        items = torch.arange(n_items)
        donors = items.roll(1) if donors is None else donors
        live = [i for i, c in enumerate(conditions) if not _is_untouched(c)]
        for i in live:
            require_reachable(self.table, conditions[i])
        with torch.no_grad():
            baseline = collect(self.model(**inputs), items)
            order = sorted(live, key=lambda i: _canonical(conditions[i]))
            job = _Job(self, dict(inputs), n_items, collect, state, donors, baseline, floats_per_row)
            parts = [job.run(chunk, engine) for chunk in self._chunks(job, [conditions[i] for i in order])]
        if len(parts) == 1 and order == list(range(len(conditions))):
            return parts[0]  # already in place: all logits of a sweep are too large to copy
        result = baseline.expand(1 + len(conditions), *baseline.shape).clone()
        for part in parts:
            for value in part[1:]:
                result[1 + order.pop(0)] = value
        return result

    def _chunks(self, job: _Job, conditions: Sequence[Condition]) -> Iterator[list[Condition]]:
        """Conditions in runs whose rows fit the memory budget; a function of shapes and params only."""
        most = self._rows_that_fit(job) // job.n_items - 1
        if conditions and most < 1:
            needed = 2 * job.n_items * self._bytes_per_row(job) / 2**20
            raise MemoryBudgetError(
                f"memory_mb={self.memory_mb} does not hold two copies of {job.n_items} items: {needed:.0f} MiB are "
                f"needed, or at most {self._rows_that_fit(job) // 2} items"
            )
        for start in range(0, len(conditions), max(1, most)):
            yield list(conditions[start : start + most])

    def _rows_that_fit(self, job: _Job) -> int:
        return int(self.memory_mb * 2**20 / self._bytes_per_row(job))

    def _bytes_per_row(self, job: _Job) -> int:
        """Rough peak per row: hidden states, the wide layer, one layer's maps, and what is collected."""
        tokens = _tokens(job.inputs, self.table.sites)
        width = max(s.heads * s.head_dim for s in self.table.sites)
        heads = max(s.heads for s in self.table.sites)
        floats = tokens * width * 20 + heads * tokens * tokens + 2 * job.collected_per_row
        return 4 * int(floats)


@dataclass
class _Job:
    """One batch and everything a pass over it needs."""

    sweep: HeadSweep
    inputs: dict[str, Any]
    n_items: int
    collect: Collect
    state: EditState
    donors: Tensor
    baseline: Tensor
    floats_per_row: int

    @property
    def collected_per_row(self) -> int:
        return self.baseline[0].numel() + self.floats_per_row

    def run(self, conditions: list[Condition], engine: str | None) -> Tensor:
        """[1 + conditions, items, …], by a shared pass where it is cheaper and proves itself."""
        reason = "forced" if engine == "loop" else self._why_not_spawn(conditions, forced=engine == "spawn")
        if not reason:
            try:
                return self._spawned(conditions)
            except (CannotSpawnError, RuntimeError, IndexError, ValueError) as error:
                # a model that counts its rows raises what it likes
                reason = f"{type(error).__name__}: {error}"
                if engine == "spawn":
                    raise
        self.sweep.trace.engine["loop"] += 1
        self.sweep.trace.reasons[reason] += 1
        return torch.stack([self.baseline, *(self._plain(c) for c in conditions)])

    def _why_not_spawn(self, conditions: list[Condition], *, forced: bool) -> str:
        blocks = self._blocks()
        if any(s.key.call > 0 for s in self.sweep.table.sites):
            return "a block is called repeatedly"
        if len({b.rpartition(".")[0] for b in blocks}) > 1:
            return "more than one stack"
        first = [self._first_block(c, blocks) for c in conditions]
        shared = sum(1 - f / len(blocks) for f in first) + 1
        return "" if forced or shared < len(conditions) else "no dearer"

    def _blocks(self) -> list[str]:
        return list(dict.fromkeys(s.block for s in self.sweep.table.sites))

    def _first_block(self, condition: Condition, blocks: list[str]) -> int:
        return min(blocks.index(h.site.block) for h in condition.heads)

    def _plain(self, condition: Condition) -> Tensor:
        output = self._pass(whole_batch(condition, self.n_items), None)
        return self.collect(output, torch.arange(self.n_items))

    def _spawned(self, conditions: list[Condition]) -> Tensor:
        blocks = self._blocks()
        plan = RowPlan(self.n_items, [self._first_block(c, blocks) for c in conditions], self._tile())
        edits = [Edit(c, h, plan.starts[i], self.n_items) for i, c in enumerate(conditions) for h in c.heads]
        with contextlib.ExitStack() as cleanup:
            for undo in spawn_hooks(self.sweep.model, blocks, plan):
                cleanup.callback(undo)
            output = self._pass(edits, plan)
        values = self.collect(output, plan.items(plan.total, "cpu"))
        if values.shape[0] != plan.total:
            raise CannotSpawnError(
                f"the model returned {values.shape[0]} rows where {plan.total} were expected"
            )
        _self_check(values[: self.n_items], self.baseline)
        self.sweep.trace.engine["spawn"] += 1
        values[: self.n_items] = self.baseline
        return values.view(1 + len(conditions), self.n_items, *values.shape[1:])

    def _tile(self) -> int | None:
        """Rows whose widest activations stay in a CPU's cache; a function of shapes only."""
        if self.donors.device.type != "cpu" or self.baseline.device.type != "cpu":
            return None
        sites = self.sweep.table.sites
        width = max(s.heads * s.head_dim for s in sites)
        tokens = max(FEWEST_TOKENS, TILE_BYTES // (4 * WIDENING * width))
        return max(1, tokens // _tokens(self.inputs, sites))

    def _pass(self, edits: Sequence[Edit], plan: RowPlan | None) -> Any:
        """One forward pass under edits, checking the rows that each edited call sees."""

        def fit(edit: Edit, call: AttentionCall) -> Edit | None:
            rows = call.out.shape[0]
            if plan is None:
                return edit if rows == self.n_items else _on_all_rows(edit, call)
            start, expected = plan.now
            if rows != expected:
                raise CannotSpawnError(f"{call.site.module} sees {rows} rows")
            inside = start <= edit.start < start + rows
            return replace(edit, start=edit.start - start) if inside else None

        model = self.sweep.model
        output = edited_pass(
            model, self.sweep.table, edits, lambda: model(**self.inputs), self.state, self.donors, fit,
            tiled=plan is not None,
        )  # fmt: skip
        self.sweep.trace.hits.update({e.head.site.address for e in edits})
        return output


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


def _on_all_rows(edit: Edit, call: AttentionCall) -> Edit:
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


def _tokens(inputs: Mapping[str, Any], sites: Sequence[Site]) -> int:
    """Tokens per row: those of the input ids, or those seen when the sites were found."""
    ids = inputs.get("input_ids")
    return int(ids.shape[1]) if ids is not None else max(s.queries for s in sites)


def _self_check(rows: Tensor, baseline: Tensor) -> None:
    size = baseline.abs().max().clamp(min=torch.finfo(baseline.dtype).tiny)
    off = float((rows - baseline).abs().max() / size)
    if not off <= SELF_CHECK:
        raise CannotSpawnError(f"untouched rows moved by {off:.1e} in a shared pass")


def _is_untouched(condition: Condition) -> bool:
    return condition.strength == technique_info(condition.technique).untouched


def _canonical(condition: Condition) -> tuple[Any, ...]:
    return [(h.order, h.head) for h in condition.heads], condition.technique, condition.strength


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
