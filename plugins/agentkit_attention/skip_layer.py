"""`skip_layer`: the output of a whole block moved towards its input, on some rows (u = 1 skips the block)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from agentkit.errors import ParamError
from agentkit_attention.errors import UnsupportedAttentionError
from agentkit_attention.spawn import CARRIED, block_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor, nn

    from agentkit_attention.edits import Edit
    from agentkit_attention.sites import Head, SiteTable

SKIP = "skip_layer"
JOINT = ("encoder_hidden_states", "hidden_states")
"""What diffusers' joint blocks take and return, in the order of what they return."""


def require_whole_blocks(table: SiteTable, heads: Iterable[Head]) -> None:
    """Refuse heads that are only a part of their block's attention.

    Raises:
        ParamError: naming the layer and all that has to be named with it.
    """
    chosen = set(heads)
    blocks = {h.site.block for h in chosen}
    missing = [h for h in table.heads if h.site.block in blocks and h not in chosen]
    if missing:
        raise ParamError(
            f"{SKIP} skips whole layers, but {missing[0].name} of {missing[0].site.block} is not among the heads; "
            "name all of a layer's heads (L2.H*), and with perturb_heads choose group: layer or set"
        )


def skipping(model: nn.Module, edits: Sequence[Edit], seen: set[str]) -> list[Callable[[], None]]:
    """Register a hook on every block that some edit skips; returns what removes them.

    Args:
        model: whose blocks.
        edits: of `skip_layer` alone; each says rows, strength and (through its head) the block.
        seen: receives the path of every block that ran.
    """
    undo = []
    by_block: dict[str, dict[tuple[int, int], float]] = {}
    for edit in edits:
        rows = by_block.setdefault(edit.head.site.block, {})
        rows[edit.start, edit.n_items] = edit.condition.strength
    for path, rows in by_block.items():
        undo.append(
            model.get_submodule(path).register_forward_hook(_Skip(path, rows, seen), with_kwargs=True).remove
        )
    return undo


class _Skip:
    def __init__(self, path: str, rows: dict[tuple[int, int], float], seen: set[str]) -> None:
        self.path, self.rows, self.seen = path, rows, seen

    def __call__(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        self.seen.add(self.path)
        given = block_arguments(block, args, kwargs)
        if isinstance(output, torch.Tensor):
            return self._moved(output, self._carried(given))
        if len(output) == 2 and all(given.get(n) is not None for n in JOINT):  # the last one drops its text
            pairs = zip(output, JOINT, strict=True)
            return tuple(None if o is None else self._moved(o, given[n]) for o, n in pairs)
        return (self._moved(output[0], self._carried(given)), *output[1:])

    def _carried(self, given: dict[str, Any]) -> Any:
        return next((v for n, v in given.items() if n in CARRIED), None)

    def _moved(self, output: Tensor, before: Any) -> Tensor:
        if not isinstance(before, torch.Tensor) or before.shape != output.shape:
            raise UnsupportedAttentionError(
                f"{self.path}: its output has not the shape of its input, so it cannot be skipped"
            )
        moved = output.clone()
        for (start, n), strength in self.rows.items():
            part = slice(start, start + n)
            moved[part] = torch.lerp(output[part], before[part], strength)
        return moved
