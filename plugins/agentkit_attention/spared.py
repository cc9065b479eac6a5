"""Work that a shared pass need not do: copies that are still equal, and tokens that nobody reads.

Until the attention of the block that appends them, copies equal the untouched rows, so projections into it
are computed once. After the attention of the very last block, only tokens that the model's head reads matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from agentkit_attention.stand_in import put_in_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn

    from agentkit_attention.spawn import RowPlan


@dataclass
class Tile:
    """The run of rows that the running block works on.

    Attributes:
        start, rows: its first row and its length.
        distinct: rows up to which its copies may differ before the block's attention; the last `n_items` of
            them are copies of the untouched rows, and so are all that follow.
        read: how many last tokens are read once the block's attention is done; None for all.
        attended: whether an edited attention of the block has been computed.
    """

    start: int
    rows: int
    distinct: int
    read: int | None = None
    attended: bool = False


def spare(block: nn.Module, attentions: Sequence[nn.Module], plan: RowPlan) -> Iterator[Callable[[], None]]:
    """Let the block's modules with matrices, beside its attentions and inside them, work on what is needed."""
    for module in block.children():
        if any(part is attention for part in module.modules() for attention in attentions):
            yield from spare(module, attentions, plan)
        elif any(weight.dim() > 1 for weight in module.parameters()):
            yield put_in_place(module, partial(_spared, module.forward, plan))


def _spared(forward: Callable[..., Any], plan: RowPlan, *args: Any, **kwargs: Any) -> Any:
    """One module's forward, computed where it must be; rows [rows, …] in and out, or it is left alone."""
    tile = plan.tile_now
    if tile is None or kwargs or len(args) != 1 or not _holds_rows(args[0], tile):
        return forward(*args, **kwargs)
    rows: Tensor = args[0]
    if not tile.attended and tile.distinct < tile.rows:
        out = forward(rows[: tile.distinct])
        if isinstance(out, torch.Tensor):
            copies = (tile.rows - tile.distinct) // plan.n_items
            return torch.cat([out, out[-plan.n_items :].repeat(copies, *(1,) * (out.dim() - 1))])
    elif tile.attended and tile.read is not None and rows.dim() == 3:
        out = forward(rows[:, -tile.read :].contiguous())
        if isinstance(out, torch.Tensor):
            return torch.nn.functional.pad(out, (0, 0, rows.shape[1] - out.shape[1], 0))
    return forward(rows)


def _holds_rows(value: Any, tile: Tile) -> bool:
    """Whether it is a tile's rows [rows, tokens, …], and not a table of positions."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.dim() < 3:
        return False
    return value.shape[0] == tile.rows
