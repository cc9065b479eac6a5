"""What a worker's process may see: an allow-list of variables, its own folder, fixed thread counts and limits."""

from __future__ import annotations

import fnmatch
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ALLOWED = (
    "PATH", "HOME", "LANG", "LC_*", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "CUDA_*", "HF_HOME", "TORCH_HOME",
    "XDG_CACHE_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "AGENTKIT_DENY_PLUGINS",
    "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE",  # another kernel would give other last bits than the driver's own process
)  # fmt: skip
"""Patterns of the variables a child inherits. Keys, tokens and database URLs match none of them."""

MARK = "AGENTKIT_WORKER"
"""Set to a random word in each child, so that whatever it starts can be found again."""

MAX_PROCESSES = 64
_MAX_FILE = 10 << 30
_MAX_OPEN_FILES = 4096
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def clean_environment(
    source: Mapping[str, str],
    *,
    folder: str,
    mark: str,
    devices: Sequence[str] = (),
    pass_env: Sequence[str] = (),
) -> dict[str, str]:
    """The environment of a child.

    Args:
        source: the driver's environment.
        folder: the child's own folder; also where temporary files go.
        mark: the value of `MARK`.
        devices: what `CUDA_VISIBLE_DEVICES` may show; nothing unless said, whatever the driver sees.
        pass_env: names the user allows besides `ALLOWED`.
    """
    allowed = [*ALLOWED, *pass_env]
    kept = {k: v for k, v in source.items() if any(fnmatch.fnmatchcase(k, pattern) for pattern in allowed)}
    return {
        **kept,
        "TMPDIR": folder,
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it CUDA's matrix products are not reproducible
        "CUDA_VISIBLE_DEVICES": ",".join(devices),
        MARK: mark,
    }


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside, torch and BLAS have the declared number of threads, whether they are loaded already or will be.

    A matrix product split over another number of threads rounds differently: inline and a child must agree.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(count)))
    torch = sys.modules.get("torch")
    torch_before = torch.get_num_threads() if torch else None
    if torch and torch_before != count:
        torch.set_num_threads(count)
    try:
        with _pools().limit(limits=count):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if torch and torch_before != count:
            torch.set_num_threads(torch_before)


_scanned: tuple[int, Any] = (-1, None)


def _pools() -> Any:
    """The thread pools of the libraries that are loaded; looked for again only after something was imported.

    Looking means reading all of `/proc/self/maps`, which took longer than a small job.
    """
    global _scanned  # noqa: PLW0603 - one process, one set of libraries
    if _scanned[0] != len(sys.modules):
        from threadpoolctl import ThreadpoolController

        controller = ThreadpoolController()
        _scanned = (len(sys.modules), controller)
    return _scanned[1]


def limit_resources() -> None:
    """No core dumps, no file above 10 GiB, at most 4096 open files."""
    import resource

    for what, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _MAX_FILE),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
    ):
        hard = resource.getrlimit(what)[1]
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (bounded, bounded))
