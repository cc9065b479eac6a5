"""Which GPUs this process may use, and who has which share of them. The driver never imports torch for it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Literal

from agentkit.errors import UnsatisfiableError

_COUNT = (
    "import ctypes\n"
    "cuda = ctypes.CDLL('libcuda.so.1')\n"
    "n = ctypes.c_int(0)\n"
    "ok = cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(n)) == 0\n"
    "print(n.value if ok else 0)\n"
)


def visible_devices(wanted: Literal["auto"] | int) -> tuple[str, ...]:
    """Indices or UUIDs, as `CUDA_VISIBLE_DEVICES` names them, else what the driver library reports.

    Args:
        wanted: `auto` for all of them, or how many.

    Raises:
        UnsatisfiableError: fewer are visible than wanted.
    """
    if wanted == 0:
        return ()
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        found = tuple(name.strip() for name in said.split(",") if name.strip() and name.strip() != "-1")
    else:
        found = tuple(str(i) for i in range(_count()))
    if wanted == "auto":
        return found
    if wanted > len(found):
        raise UnsatisfiableError(f"workers.gpus {wanted}: {len(found)} GPUs are visible here")
    return found[:wanted]


def _count() -> int:
    """Asked in a child: opening the driver library here would hold device memory for the whole session."""
    if not os.path.exists("/dev/nvidiactl") and not os.path.exists("/dev/dxg"):  # noqa: PTH110 - two fixed names
        return 0
    try:
        asked = subprocess.run(  # noqa: S603 - our own fixed words
            [sys.executable, "-I", "-S", "-c", _COUNT],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return int(asked.stdout.strip() or 0)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0


class Shares:
    """What of each device is given out; the shares of one device never exceed 1."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._free = dict.fromkeys(names, 1.0)

    def fits(self, share: float) -> bool:
        """Whether `share` could be taken now."""
        return share == 0 or self._place(share) is not None

    def take(self, share: float) -> tuple[str, ...]:
        """Devices for one worker: one with enough left for a fraction, whole ones otherwise."""
        if share == 0:
            return ()
        devices = self._place(share)
        if devices is None:
            raise UnsatisfiableError(f"no GPU has {share:g} left")
        for name in devices:
            self._free[name] -= min(share, 1.0)
        return devices

    def give_back(self, devices: tuple[str, ...], share: float) -> None:
        """The worker is gone."""
        for name in devices:
            self._free[name] = min(1.0, self._free[name] + min(share, 1.0))

    def _place(self, share: float) -> tuple[str, ...] | None:
        if share < 1:  # the fullest that still has room, so that whole devices stay whole
            fitting = [n for n in self.names if self._free[n] >= share - 1e-9]
            return (min(fitting, key=lambda n: self._free[n]),) if fitting else None
        whole = [n for n in self.names if self._free[n] >= 1 - 1e-9]
        return tuple(whole[: int(share)]) if len(whole) >= share else None
