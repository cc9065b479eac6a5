"""A pretended GPU: tensors that say `cuda:0`, refuse to meet tensors of the CPU, and compute on the CPU all the same.

It shows on any machine what most often breaks on a real GPU: an index, a mask or a draw made on the wrong device, or a
`.numpy()` without `.cpu()`. Because the arithmetic is the CPU's, a tool must also give the CPU's very numbers. It says
nothing about a GPU's rounding, kernels, memory or speed; tests marked `gpu` do.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch._C._functorch import is_functorch_wrapped_tensor  # torch.func forgets what it wraps
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Iterator

GPU = torch.device("cuda:0")

_MAY_MIX = {
    "copy_",
    "__getitem__",
    "__setitem__",
    "index_put_",
    "set_",
    "data",
    "type_as",
    "to",
    "is_set_to",
    "equal",
}
"""What real torch allows between a GPU tensor and one of the CPU (an index, a source to copy)."""


class OnGPU(torch.Tensor):
    """A tensor of the pretended GPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return GPU

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(func, args, kwargs or {})


class _Pretend(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(func, args, kwargs or {})


@contextmanager
def pretended_gpu() -> Iterator[str]:
    """Inside, `cuda:0` exists; yields its name."""
    make = torch.Generator

    class Generator(make):  # type: ignore[misc, valid-type]
        def __new__(cls, device: Any = "cpu") -> Any:
            if torch.device(device).type == "cuda":
                raise AssertionError("a draw on the GPU gives other numbers than one on the CPU")
            return make.__new__(make, device)

    torch.Generator = Generator  # type: ignore[misc]
    try:
        with _Pretend():
            yield str(GPU)
    finally:
        torch.Generator = make  # type: ignore[misc]


def _call(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = getattr(func, "__name__", "")
    if name == "__get__":
        name = getattr(getattr(func, "__self__", None), "__name__", "")
    if name == "_has_compatible_shallow_copy_type":
        return False  # so that nn.Module.to makes new parameters
    tensors = list(_tensors((args, kwargs)))
    on_gpu = any(isinstance(t, OnGPU) for t in tensors)
    wanted, args, kwargs = _without_device(name, args, kwargs)
    if wanted == "cuda" and kwargs.get("generator") is not None:
        raise RuntimeError(f"{name}: expected a 'cuda' device type for generator but found 'cpu'")
    if name in {"numpy", "__array__"} and on_gpu:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
    if name == "cpu":
        wanted = "cpu"
    if on_gpu and wanted is None and name not in _MAY_MIX:
        for t in tensors:
            if not isinstance(t, OnGPU) and t.ndim > 0 and not is_functorch_wrapped_tensor(t):
                raise RuntimeError(
                    f"{name}: expected all tensors to be on the same device, found cuda:0 and cpu"
                )
    if name in {"__getitem__", "__setitem__"} and on_gpu and not isinstance(args[0], OnGPU):
        raise RuntimeError(
            "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
        )
    with torch._C.DisableTorchFunction():
        result = func(*args, **kwargs)
    if name in {"grad", "backward"} and not on_gpu:
        return result
    if wanted is not None and tensors and name in {"to", "cpu"}:
        result = result.clone()  # a copy, as between real devices
    to_gpu = wanted == "cuda" or (wanted is None and on_gpu and _owner_on_gpu(name, args, tensors))
    return _wrap(result) if to_gpu else _unwrap(result) if wanted == "cpu" else result


def _owner_on_gpu(name: str, args: Any, tensors: list[Any]) -> bool:
    """Where the result lives: with the tensor that a method belongs to; anywhere else with the GPU."""
    if name in _MAY_MIX and args and isinstance(args[0], torch.Tensor):
        return isinstance(args[0], OnGPU)
    return True


def _without_device(name: str, args: Any, kwargs: dict[str, Any]) -> tuple[str | None, Any, dict[str, Any]]:
    """(`cpu`, `cuda` or None, args and kwargs that ask for the CPU)."""
    wanted = None
    if kwargs.get("device") is not None and torch.device(kwargs["device"]).type in {"cpu", "cuda"}:
        wanted = torch.device(kwargs["device"]).type
        kwargs = {**kwargs, "device": "cpu"}
    if name == "to":
        changed = list(args)
        for i, a in enumerate(args[1:], 1):
            if isinstance(a, torch.device) or (isinstance(a, str) and a.partition(":")[0] in {"cpu", "cuda"}):
                wanted, changed[i] = torch.device(a).type, "cpu"
            elif isinstance(a, torch.Tensor):
                wanted = "cuda" if isinstance(a, OnGPU) else "cpu"
        if isinstance(other := kwargs.get("other"), torch.Tensor):
            wanted = "cuda" if isinstance(other, OnGPU) else "cpu"
        args = tuple(changed)
    elif name == "cuda":
        raise AssertionError("say .to(device): .cuda() takes a GPU whether or not the job was given one")
    return wanted, args, kwargs


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _wrap(value: Any) -> Any:
    return _mapped(value, lambda t: t if isinstance(t, OnGPU) else t.as_subclass(OnGPU))


def _unwrap(value: Any) -> Any:
    return _mapped(value, lambda t: t.as_subclass(torch.Tensor))


def _mapped(value: Any, change: Any) -> Any:
    if isinstance(value, torch.Tensor):
        with torch._C.DisableTorchFunction():
            return change(value)
    if isinstance(value, tuple):
        items = [_mapped(v, change) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, list):
        return [_mapped(v, change) for v in value]
    return value
