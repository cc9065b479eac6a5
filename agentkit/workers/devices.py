"""What a worker asks of torch, and only when a tool has already imported it."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def _torch() -> Any:
    return sys.modules.get("torch")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it is torch's own out-of-memory error, and nothing broader."""
    torch = _torch()
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def release() -> None:
    """Give back device memory that nothing refers to any more."""
    gc.collect()
    if (torch := _torch()) is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def deterministic(wanted: bool, device: str) -> Iterator[None]:
    """Inside, torch refuses algorithms that give other numbers each time, where the tool promises equal ones.

    On a GPU it warns instead of refusing where it has no other: the promise is one of the CPU.
    """
    torch = _torch()
    before = torch.are_deterministic_algorithms_enabled() if torch is not None else wanted
    if before != wanted:
        torch.use_deterministic_algorithms(wanted, warn_only=device != "cpu")
    try:
        yield
    finally:
        if before != wanted:
            torch.use_deterministic_algorithms(before)


def reset_peak(device: str) -> None:
    """Start counting the device's peak memory anew."""
    if device != "cpu" and (torch := _torch()) is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: str) -> int:
    """Most device memory held since `reset_peak`; 0 on the CPU."""
    if device == "cpu" or (torch := _torch()) is None or not torch.cuda.is_available():
        return 0
    return int(torch.cuda.max_memory_allocated(device))


def limit_share(share: float) -> None:
    """Keep this process to its share of the one device it sees."""
    if 0 < share < 1 and (torch := _torch()) is not None and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share)
