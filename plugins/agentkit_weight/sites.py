"""Which linear layers a regex means, and which block of the network each belongs to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import nn

from agentkit.errors import ParamError, near_names
from agentkit_weight.errors import SiteNotHitError, UnsupportedSiteError

if TYPE_CHECKING:
    from torch import Tensor

ALL_LINEAR = ".*"


def find_sites(
    model: nn.Module, pattern: str = ALL_LINEAR, top_layers: int | None = None
) -> dict[str, nn.Module]:
    """Linear layers whose name the regex matches somewhere, sorted by name.

    Args:
        model: any module; layers that PEFT wrapped count once, under their wrapper's name.
        pattern: a regex, searched in the dotted name; the default takes the linear layers of all blocks
            (those outside the blocks, such as a pooler, only when the model has no blocks).
        top_layers: keep only the last so many blocks; None keeps all.

    Raises:
        ParamError: the pattern is not a regex.
        UnsupportedSiteError: it matches modules, none of them linear.
        SiteNotHitError: it matches nothing, or nothing in the top layers; near names are offered.
    """
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise ParamError(f"targets {pattern!r} is not a regex: {error}") from None
    linear = linear_layers(model)
    blocks = block_list(model)
    found = {n: m for n, m in linear.items() if regex.search(n)}
    if not found:
        raise _nothing_matches(model, pattern, regex, linear)
    if pattern == ALL_LINEAR and blocks is not None:
        found = {n: m for n, m in found.items() if block_index(n, blocks[0]) is not None}
    if top_layers is None or blocks is None:
        return dict(sorted(found.items()))
    name, layers = blocks
    lowest = len(layers) - top_layers
    kept = {n: m for n, m in found.items() if (i := block_index(n, name)) is None or i >= lowest}
    if not kept:
        raise SiteNotHitError(
            f"targets {pattern!r} matches {len(found)} layers, all below the top {top_layers} of {len(layers)} "
            "blocks; raise top_layers"
        )
    return dict(sorted(kept.items()))


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every linear layer by dotted name; a layer that PEFT wrapped is listed as its wrapper."""
    wrapped = {n for n, m in model.named_modules() if isinstance(getattr(m, "base_layer", None), nn.Linear)}
    inside = tuple(f"{n}." for n in wrapped)
    return {
        n: m
        for n, m in model.named_modules()
        if n in wrapped or (isinstance(m, nn.Linear) and not (inside and n.startswith(inside)))
    }


def weight_of(module: nn.Module) -> Tensor:
    """The weight (m, n) of a site: of the base layer where PEFT wrapped it. Read it, never write it."""
    base: Any = getattr(module, "base_layer", module)
    weight: Tensor = base.weight
    return weight


def block_list(model: nn.Module) -> tuple[str, nn.ModuleList] | None:
    """Name and layers of the longest list of blocks in the model, or None when it has no list."""
    lists = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.ModuleList)]
    return max(lists, key=lambda item: len(item[1]), default=None)


def block_index(name: str, list_name: str) -> int | None:
    """Which block a module belongs to: 4 for `encoder.layer.4.output.dense`."""
    prefix = f"{list_name}."
    head = name.removeprefix(prefix).partition(".")[0]
    return int(head) if name.startswith(prefix) and head.isdigit() else None


def lowest_block(model: nn.Module, sites: dict[str, nn.Module]) -> int | None:
    """The first block that holds a site, or None when some site lies outside the blocks."""
    blocks = block_list(model)
    if blocks is None or not sites:
        return None
    indices = [block_index(n, blocks[0]) for n in sites]
    return None if None in indices else min(i for i in indices if i is not None)


def _nothing_matches(
    model: nn.Module, pattern: str, regex: re.Pattern[str], linear: dict[str, nn.Module]
) -> Exception:
    for name, module in model.named_modules():
        if name and regex.search(name):
            return UnsupportedSiteError(
                f"targets {pattern!r} matches {name!r}, a {type(module).__name__}: only linear layers can carry "
                f"a branch. {near_names(name, linear)}"
            )
    return SiteNotHitError(f"targets {pattern!r} matches no module. {near_names(pattern, linear)}")
