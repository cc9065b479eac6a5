"""The engine: measure every condition of a batch on an untouched model, in one pass where that is possible."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from agentkit_attention.edits import (
    Condition,
    Edit,
    edited_pass,
    on_all_rows,
    require_reachable,
    whole_batch,
)
from agentkit_attention.errors import MemoryBudgetError
from agentkit_attention.spawn import CannotSpawnError, RowPlan, spawn_hooks
from agentkit_attention.techniques import EditState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from agentkit_attention.calls import AttentionCall
    from agentkit_attention.sites import Site, SiteTable

    Collect = Callable[[Any, Tensor], Tensor]

SELF_CHECK = 1e-5
"""Largest relative difference between the untouched rows of a shared pass and a plain pass."""

TILE_BYTES, WIDENING, FEWEST_TOKENS = 6 << 20, 4, 256
"""Size of the widest activations of a tile, how much wider they are than hidden states, and its fewest tokens."""


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
        live = [i for i, c in enumerate(conditions) if not c.untouched]
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

    def _attentions(self) -> dict[str, list[str]]:
        """Paths of the attention modules of each block."""
        modules: dict[str, list[str]] = {}
        for site in self.sweep.table.sites:
            modules.setdefault(site.block, []).append(site.key.module)
        return modules

    def _read_tokens(self, last_block: str) -> int | None:
        """How many last tokens of the last block a language model's head was told to read; None for all."""
        stack, _, number = last_block.rpartition(".")
        blocks = self.sweep.model.get_submodule(stack)
        if not number.isdigit() or int(number) + 1 != len(list(blocks.children())):
            return None
        told = self.inputs.get("logits_to_keep")
        return told if isinstance(told, int) and told > 0 else None

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
            for undo in spawn_hooks(
                self.sweep.model, self._attentions(), plan, self._read_tokens(blocks[-1])
            ):
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
                return edit if rows == self.n_items else on_all_rows(edit, call)
            tile = plan.tile_now
            if tile is None or rows != tile.rows:
                raise CannotSpawnError(f"{call.site.module} sees {rows} rows")
            tile.attended = True
            inside = tile.start <= edit.start < tile.start + rows
            return replace(edit, start=edit.start - tile.start) if inside else None

        model = self.sweep.model
        output = edited_pass(
            model, self.sweep.table, edits, lambda: model(**self.inputs), self.state, self.donors, fit,
            tiled=plan is not None,
        )  # fmt: skip
        self.sweep.trace.hits.update({e.head.site.address for e in edits})
        return output


def _tokens(inputs: Mapping[str, Any], sites: Sequence[Site]) -> int:
    """Tokens per row: those of the input ids, or those seen when the sites were found."""
    ids = inputs.get("input_ids")
    return int(ids.shape[1]) if ids is not None else max(s.queries for s in sites)


def _self_check(rows: Tensor, baseline: Tensor) -> None:
    size = baseline.abs().max().clamp(min=torch.finfo(baseline.dtype).tiny)
    off = float((rows - baseline).abs().max() / size)
    if not off <= SELF_CHECK:
        raise CannotSpawnError(f"untouched rows moved by {off:.1e} in a shared pass")


def _canonical(condition: Condition) -> tuple[Any, ...]:
    return [(h.order, h.head) for h in condition.heads], condition.technique, condition.strength
