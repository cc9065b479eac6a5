"""Another forward in one module's place for a while."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


def put_in_place(module: nn.Module, forward: Callable[..., Any]) -> Callable[[], None]:
    """Call `forward` instead of the module's own; returns what takes it away again."""
    own = module.__dict__.get("forward")  # a tool may have patched the instance
    module.__dict__["forward"] = forward
    return partial(_give_back, module, own)


def _give_back(module: nn.Module, own: Callable[..., Any] | None) -> None:
    del module.__dict__["forward"]
    if own is not None:
        module.__dict__["forward"] = own
