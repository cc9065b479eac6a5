"""Many perturbed copies of a batch in one forward pass, sharing the layers before the first edit.

Before block l, copies of the B untouched rows are appended for every condition whose first edit lies in
block l; each copy is edited on its own and carried on by the later blocks. For all H heads of L layers
that costs H·L(L+1)/2 block passes of B rows instead of H·L·L: a ratio of 2L/(L+1), below 2.
"""

from __future__ import annotations

import inspect
import itertools
from typing import TYPE_CHECKING, Any

import torch

from agentkit_attention.spared import Tile, spare
from agentkit_attention.stand_in import put_in_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn

CARRIED = ("hidden_states", "hidden_state", "x", "src", "inputs", "layer_input")
"""Block arguments that hold the rows themselves."""

PER_ROW = (
    "attention_mask", "position_embeddings", "position_ids", "encoder_hidden_states", "encoder_attention_mask",
    "src_key_padding_mask", "token_type_ids", "position_embeddings_global", "position_embeddings_local",
    "sliding_window_mask", "attn_mask", "causal_mask", "alibi", "rotary_pos_emb",
)  # fmt: skip
"""Block arguments with one entry per item in their first axis, or one entry for all."""

SHARED = ("cache_position", "src_mask", "layer_idx", "position_bias_cache")
"""Block arguments that are the same for every row."""


class CannotSpawnError(Exception):
    """This model's blocks do not pass rows on in a way that is understood; the plain loop does the work."""


class RowPlan:
    """Which rows of the growing batch belong to which condition.

    Attributes:
        n_items: rows of the untouched batch, B.
        starts: first row of each condition.
        total: rows after the last block that appends.
        tile: most rows that a block works on at once, a multiple of B; None for all.
        tile_now: what the running block works on; None between blocks.
    """

    def __init__(self, n_items: int, first_block: Sequence[int], tile: int | None = None) -> None:
        self.n_items = n_items
        self.tile = tile
        self.tile_now: Tile | None = None
        order = sorted(range(len(first_block)), key=lambda c: first_block[c])
        self.starts = [0] * len(first_block)
        self._rows_at: dict[int, int] = {}
        self.total = n_items
        for condition in order:
            self.starts[condition] = self.total
            self.total += n_items
            self._rows_at[first_block[condition]] = self.total

    def rows_after(self, block: int) -> int:
        """Rows in flight once `block` has appended its copies."""
        return max((rows for b, rows in self._rows_at.items() if b <= block), default=self.n_items)

    def rows(self, condition: int) -> slice:
        """Rows of one condition."""
        return slice(self.starts[condition], self.starts[condition] + self.n_items)

    def tiles(self, n_rows: int) -> list[tuple[int, int]]:
        """Start and stop of even runs of whole copies of the batch, none longer than `tile`."""
        copies = n_rows // self.n_items
        most = copies if self.tile is None else max(1, self.tile // self.n_items)
        parts = -(-copies // most)
        edges = [round(i * copies / parts) * self.n_items for i in range(parts + 1)]
        return list(itertools.pairwise(edges))

    def items(self, n_rows: int, device: Any) -> Tensor:
        """Which item each of the first `n_rows` rows is a copy of, int64 [n_rows]."""
        return torch.arange(n_rows, device=device) % self.n_items


def spawn_hooks(
    model: nn.Module, attentions: dict[str, list[str]], plan: RowPlan, read: int | None = None
) -> Iterator[Callable[[], None]]:
    """Register the hooks that let rows grow block by block; yields what removes each.

    Args:
        model: left untouched once everything is removed.
        attentions: paths of the attention modules of each block, blocks in the order they run.
        plan: when rows are appended.
        read: how many last tokens are read after the last block; None for all.
    """
    for number, (path, inside) in enumerate(attentions.items()):
        block = model.get_submodule(path)
        hook = _BlockHook(block, plan.rows_after(number - 1), plan.rows_after(number), plan)
        yield block.register_forward_pre_hook(hook, with_kwargs=True).remove
        last = number == len(attentions) - 1 and len(inside) == 1
        yield put_in_place(block, _Tiled(block.forward, hook, plan, read if last else None))
        yield from spare(block, [model.get_submodule(name) for name in inside], plan)


class _Tiled:
    """Stands in for one block's forward: the same calls on runs of the rows, which then stay in the CPU's cache.

    A block that is handed anything that remembers (a key-value cache) gets all rows in one call, as ever.
    """

    def __init__(
        self, forward: Callable[..., Any], hook: _BlockHook, plan: RowPlan, read: int | None
    ) -> None:
        self.forward, self.hook, self.plan, self.read = forward, hook, plan, read

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._run(args, kwargs)
        finally:
            self.plan.tile_now = None

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        rows = self.hook.rows_out
        tiles = self.plan.tiles(rows) if self._may_be_cut(args, kwargs) else [(0, rows)]
        parts = []
        for start, stop in tiles:
            distinct = max(0, self.hook.rows_in - start) + self.plan.n_items
            self.plan.tile_now = Tile(start, stop - start, distinct, self.read)
            if len(tiles) == 1:
                return self.forward(*args, **kwargs)
            cut = [
                self._cut(n, a, i, start, stop)
                for i, (n, a) in enumerate(zip(self.hook.names, args, strict=False))
            ]
            named = {
                n: self._cut(n, a, 0 if n in self.hook.names[:1] else 1, start, stop)
                for n, a in kwargs.items()
            }
            parts.append(self.forward(*cut, **named))
        return _joined(parts)

    def _may_be_cut(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        plain = (torch.Tensor, bool, int, float, str, type(None))
        flat = [v for a in (*args, *kwargs.values()) for v in (a if isinstance(a, tuple | list) else (a,))]
        return all(isinstance(v, plain) for v in flat)

    def _cut(self, name: str, value: Any, place: int, start: int, stop: int) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(self._cut(name, v, place, start, stop) for v in value)
        per_row = (name in CARRIED and place == 0) or name in PER_ROW
        if not per_row or not isinstance(value, torch.Tensor) or value.dim() == 0 or value.shape[0] == 1:
            return value
        return value[start:stop]


def _joined(parts: list[Any]) -> Any:
    """Outputs of a block's tiles as one."""
    first = parts[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(parts)
    if isinstance(first, tuple | list):
        return type(first)(_joined(list(each)) for each in zip(*parts, strict=True))
    return first


class _BlockHook:
    """Appends copies to the rows that enter one block and repeats what the block gets per item."""

    def __init__(self, block: nn.Module, rows_in: int, rows_out: int, plan: RowPlan) -> None:
        declared = inspect.signature(type(block).forward).parameters  # a tool may have patched the instance
        self.names = [n for n, p in declared.items() if p.kind is not p.VAR_KEYWORD][1:]
        self.rows_in, self.rows_out, self.plan = rows_in, rows_out, plan

    def __call__(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(args) > len(self.names):
            raise CannotSpawnError(f"{type(block).__name__} takes a variable number of arguments")
        new_args = tuple(
            self._argument(n, v, i) for i, (n, v) in enumerate(zip(self.names, args, strict=False))
        )
        new_kwargs = {n: self._argument(n, v, 0 if n in self.names[:1] else 1) for n, v in kwargs.items()}
        return new_args, new_kwargs

    def _argument(self, name: str, value: Any, place: int) -> Any:
        if name in CARRIED and place == 0:
            return self._grown(name, value)
        if name in SHARED or not _holds_tensor(value):
            return value
        if name in PER_ROW:
            return self._per_row(name, value)
        raise CannotSpawnError(f"no rule for the block argument {name!r}")

    def _grown(self, name: str, rows: Tensor) -> Tensor:
        if rows.shape[0] != self.rows_in:
            raise CannotSpawnError(f"{name} has {rows.shape[0]} rows where {self.rows_in} were expected")
        copies = (self.rows_out - self.rows_in) // self.plan.n_items
        if copies == 0:
            return rows
        untouched = rows[: self.plan.n_items]
        return torch.cat([rows, untouched.repeat(copies, *(1,) * (rows.dim() - 1))])

    def _per_row(self, name: str, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(self._per_row(name, v) for v in value)
        if not isinstance(value, torch.Tensor) or value.dim() == 0 or value.shape[0] == 1:
            return value
        if value.shape[0] != self.plan.n_items:
            raise CannotSpawnError(
                f"{name} has first axis {value.shape[0]}, neither 1 nor the number of items"
            )
        return value.index_select(0, self.plan.items(self.rows_out, value.device))


def block_arguments(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a block was called with, by name."""
    names = list(inspect.signature(type(block).forward).parameters)[1:]
    return dict(zip(names, args, strict=False)) | kwargs


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_holds_tensor(v) for v in value)
    if isinstance(value, dict):
        return any(_holds_tensor(v) for v in value.values())
    return isinstance(value, torch.Tensor)
