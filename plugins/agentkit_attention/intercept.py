"""Interception of attention in an unmodified model: install, hand every call to a handler, remove everything.

Paths, the first that sees a call takes it:
1. `interface`: transformers' attention interface (k and v arrive unexpanded, the model's config is left alone);
2. `sdpa`: any call of `torch.nn.functional.scaled_dot_product_attention`, also one imported by name;
3. `mha`: the same inside `nn.MultiheadAttention`, with torch's fused encoder path switched off meanwhile;
4. `projection`: the input of the output projection, for attention written by hand.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from agentkit_attention.calls import AttentionCall, SiteKey
from agentkit_attention.errors import UnsupportedAttentionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor

    Handler = Callable[[AttentionCall], Tensor | None]

_fused_attention = torch.nn.functional.scaled_dot_product_attention
_local = threading.local()
_install_lock = threading.RLock()
_model_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_open_sessions: list[object] = []
_undo: list[Callable[[], None]] = []


@dataclass
class Session:
    """One model being watched by one thread."""

    handler: Handler
    names: dict[int, str]
    stack: list[tuple[str, nn.Module]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    inside: bool = False

    def deliver(self, module: str, call: Callable[[SiteKey], AttentionCall]) -> Tensor | None:
        """Number the call, show it to the handler, return the new head outputs or None."""
        site = SiteKey(module, self.calls[module])
        self.calls[module] += 1
        self.inside = True  # what the handler itself computes is not a call of the model
        try:
            return self.handler(call(site))
        finally:
            self.inside = False


@contextlib.contextmanager
def watching(
    model: nn.Module,
    handler: Handler,
    *,
    modules: Iterable[str] | None = None,
    projections: Iterable[Projection] = (),
    early_bound: bool = True,
) -> Iterator[Session]:
    """Hand every attention call of `model` in this thread to `handler` while the block runs.

    Args:
        model: left untouched; all hooks and replacements are removed on the way out, whatever happens.
        handler: gets an `AttentionCall`; returns new head outputs, or None to leave the call as it is.
        modules: paths whose calls count; every module when None.
        projections: hand-written attention to reach through its output projection.
        early_bound: also catch code that imported scaled_dot_product_attention by name (costs a little
            on every torch call).

    Raises:
        UnsupportedAttentionError: the model was compiled, so nothing inside it can be seen.
    """
    if isinstance(model, torch._dynamo.eval_frame.OptimizedModule):
        raise UnsupportedAttentionError(
            "the target is compiled by torch.compile, which hides its attention; pass the model itself"
        )
    wanted = None if modules is None else set(modules)
    watched = [(n, m) for n, m in model.named_modules() if wanted is None or n in wanted]
    session = Session(handler, {id(m): n for n, m in watched})
    with _model_lock(model), contextlib.ExitStack() as cleanup:
        cleanup.callback(_uninstall)
        _install()
        _hook(model, session, watched, projections, cleanup)
        if getattr(_local, "session", None) is not None:
            raise UnsupportedAttentionError("attention of a model is already being perturbed in this thread")
        _local.session = session
        cleanup.callback(setattr, _local, "session", None)
        if early_bound:
            cleanup.enter_context(_EarlyBound())
        yield session


@dataclass(frozen=True)
class Projection:
    """Attention written by hand: where its head outputs can be reached.

    Attributes:
        module: path of the attention module, which names the site.
        at: path of the module whose input (or output) holds all heads side by side.
        heads: how many.
        output: the heads are in the output of `at` instead of its input.
    """

    module: str
    at: str
    heads: int
    output: bool = False


def _hook(
    model: nn.Module,
    session: Session,
    watched: list[tuple[str, nn.Module]],
    projections: Iterable[Projection],
    cleanup: contextlib.ExitStack,
) -> None:
    """Forward hooks: calls are counted anew in each forward, and the stack says whose call it is."""

    def start(module: nn.Module, args: Any) -> None:
        session.calls.clear()

    cleanup.callback(model.register_forward_pre_hook(start).remove)
    for name, module in watched:
        entry = (name, module)

        def enter(module: nn.Module, args: Any, entry: tuple[str, nn.Module] = entry) -> None:
            if getattr(_local, "session", None) is session:  # another thread's forward is not ours
                session.stack.append(entry)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if getattr(_local, "session", None) is session:
                session.stack.pop()

        cleanup.callback(module.register_forward_pre_hook(enter).remove)
        cleanup.callback(module.register_forward_hook(leave, always_call=True).remove)
    for projection in projections:
        module = model.get_submodule(projection.at)
        if projection.output:
            handle = module.register_forward_hook(partial(_at_output, session, projection))
        else:
            handle = module.register_forward_pre_hook(partial(_at_input, session, projection))
        cleanup.callback(handle.remove)


def _model_lock(model: nn.Module) -> threading.RLock:
    with _install_lock:
        return _model_locks.setdefault(model, threading.RLock())


def _install() -> None:
    """Put the process-wide doors in place; threads without a session pass straight through them."""
    with _install_lock:
        _open_sessions.append(None)
        if len(_open_sessions) > 1:
            return
        functional: Any = torch.nn.functional
        functional.scaled_dot_product_attention = _sdpa_door
        _undo.append(lambda: setattr(functional, "scaled_dot_product_attention", _fused_attention))
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        _undo.append(lambda: torch.backends.mha.set_fastpath_enabled(fast))
        if "transformers.modeling_utils" in sys.modules:
            _undo.append(_open_interface(sys.modules["transformers.modeling_utils"].AttentionInterface))


def _uninstall() -> None:
    with _install_lock:
        _open_sessions.pop()
        while not _open_sessions and _undo:
            _undo.pop()()


def _open_interface(interface: Any) -> Callable[[], None]:
    original = interface.get_interface

    def get_interface(self: Any, implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
        function = original(self, implementation, default)
        return function if _session() is None else partial(_interface_door, function, implementation)

    interface.get_interface = get_interface
    return lambda: setattr(interface, "get_interface", original)


def _session() -> Session | None:
    session: Session | None = getattr(_local, "session", None)
    return None if session is None or session.inside else session


def _interface_door(
    function: Callable[..., Any], implementation: str, module: nn.Module, query: Tensor, key: Tensor,
    value: Tensor, attention_mask: Any = None, *args: Any, **kwargs: Any,
) -> Any:  # fmt: skip
    """Path 1. `function` returns head outputs as [rows, queries, heads, dim] and perhaps the map."""
    session = _session()
    name = session.names.get(id(module)) if session else None
    if session is None or name is None:
        return function(module, query, key, value, attention_mask, *args, **kwargs)
    session.inside = True
    try:
        out, weights = function(module, query, key, value, attention_mask, *args, **kwargs)
    finally:
        session.inside = False
    bias = kwargs.get("position_bias")
    causal = implementation != "eager" and attention_mask is None and query.shape[2] > 1
    declared = kwargs.get("is_causal")
    causal = causal and bool(getattr(module, "is_causal", True) if declared is None else declared)
    scale = kwargs.get("scaling")

    def call(site: SiteKey) -> AttentionCall:
        return AttentionCall(
            site, out.transpose(1, 2), query, key, value, _with_bias(attention_mask, bias), causal,
            query.shape[-1] ** -0.5 if scale is None else float(scale), "interface",
            _opaque(implementation, kwargs),
        )  # fmt: skip

    new = session.deliver(name, call)
    return (out, weights) if new is None else (new.transpose(1, 2).contiguous(), weights)


def _with_bias(mask: Tensor | None, bias: Tensor | None) -> Tensor | None:
    if bias is None or mask is None:
        return mask if bias is None else bias
    return bias.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else bias + mask


def _opaque(implementation: str, kwargs: dict[str, Any]) -> str:
    if "flash" in implementation or "flex" in implementation:
        return f"the {implementation} kernel's own mask"
    return next((f"{name}" for name in ("softcap", "s_aux", "sinks") if kwargs.get(name) is not None), "")


def _sdpa_door(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """Paths 2 and 3: stands in for `scaled_dot_product_attention` while a session is open."""
    session = _session()
    fused = partial(
        _fused_attention, query, key, value, attn_mask=attn_mask, dropout_p=dropout_p, is_causal=is_causal,
        scale=scale, enable_gqa=enable_gqa,
    )  # fmt: skip
    if session is None or not session.stack or query.dim() != 4:
        return fused()
    session.inside = True
    try:
        out = fused()
    finally:
        session.inside = False
    name, module = session.stack[-1]
    engine = "mha" if isinstance(module, nn.MultiheadAttention) else "sdpa"

    def call(site: SiteKey) -> AttentionCall:
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        return AttentionCall(site, out, query, key, value, attn_mask, is_causal, factor, engine)

    new = session.deliver(name, call)
    return out if new is None else new


class _EarlyBound(TorchFunctionMode):
    """Sees the fused attention even where a module imported the function by name."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is _fused_attention and _session() is not None:
            return _sdpa_door(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _at_input(session: Session, projection: Projection, module: nn.Module, args: tuple[Any, ...]) -> Any:
    new = _edited(session, projection, args[0])
    return None if new is None else (new, *args[1:])


def _at_output(session: Session, projection: Projection, module: nn.Module, args: Any, output: Any) -> Any:
    new = _edited(session, projection, output[0] if isinstance(output, tuple) else output)
    if new is None or not isinstance(output, tuple):
        return new
    replaced: Any = output
    if hasattr(output, "_fields"):  # a named tuple, whose fields the model reads by name
        return replaced._replace(**{replaced._fields[0]: new})
    return (new, *output[1:])


def _edited(session: Session, projection: Projection, joined: Any) -> Tensor | None:
    """Path 4: `joined` [rows, …, heads * dim] as head outputs, and back; all axes between hold queries."""
    if not isinstance(joined, torch.Tensor):
        raise UnsupportedAttentionError(
            f"{projection.module}: attention is written by hand and {projection.at} passes on "
            f"{type(joined).__name__}s instead of head outputs, so its heads cannot be reached"
        )
    width = joined.shape[-1] // projection.heads
    out = joined.reshape(joined.shape[0], -1, projection.heads, width).transpose(1, 2)
    new = session.deliver(
        projection.module,
        lambda site: AttentionCall(site, out, None, None, None, None, False, 1.0, "projection"),
    )
    return None if new is None else new.transpose(1, 2).reshape(joined.shape)
