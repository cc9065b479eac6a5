"""Clean texts are embedded once per worker: a cache that lives as long as the encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from agentkit.errors import ParamError, TargetError
from agentkit_input_noise.errors import TargetNotDeterministicError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

Vectors = dict[str, "NDArray[np.float64]"]
"""A unit-length embedding by text, each of shape (dim,)."""


class Encoder(Protocol):
    """What `noise.text` asks of a target; a row must not depend on the other texts of the call."""

    def encode(self, texts: Sequence[str]) -> Any:
        """Embeddings of shape (texts, dim), a torch tensor or an array."""


_CLEAN: WeakKeyDictionary[Any, Vectors] = WeakKeyDictionary()


def embed(encoder: Encoder, texts: Iterable[str], batch: int | None = None) -> Vectors:
    """Each distinct text's embedding, scaled to length 1; the encoder sees each text once.

    Raises:
        ParamError: a text that is no Unicode.
        TargetError: an encoder that gives no embedding for a text.
    """
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return {}
    require_unicode(distinct)
    rows = encoder.encode(distinct) if batch is None else encoder.encode(distinct, batch_size=batch)  # type: ignore[call-arg]  # asked only after an out-of-memory
    rows = rows.detach().cpu().numpy() if hasattr(rows, "detach") else np.asarray(rows)
    _require_rows(rows, distinct)
    wide = rows.astype(np.float64)
    return dict(zip(distinct, wide / np.linalg.norm(wide, axis=1, keepdims=True), strict=True))


def embed_clean(encoder: Encoder, texts: Iterable[str], batch: int | None = None) -> Vectors:
    """As `embed`, remembered for the life of the encoder: only texts not met before are computed.

    Raises:
        TargetNotDeterministicError: a second pass over the first text differs (looked at once per encoder).
    """
    wanted = list(dict.fromkeys(texts))
    if encoder not in _CLEAN:
        first, again = (embed(encoder, wanted[:1], batch) for _ in range(2))
        if any((first[text] != again[text]).any() for text in first):
            raise TargetNotDeterministicError(
                "the encoder gave another embedding on a second pass; put it into evaluation mode: model.eval()"
            )
    known = _CLEAN.setdefault(encoder, {})
    known.update(embed(encoder, [t for t in wanted if t not in known], batch))
    return known


def require_unicode(texts: Sequence[str]) -> None:
    """Refuse what is no text, and text that was read in another encoding; raises `ParamError`."""
    for text in texts:
        if not isinstance(text, str):
            raise ParamError(
                f"{text!r} is no text but {type(text).__name__}; decode it first, as UTF-8 for example"
            )
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise ParamError(
                f"the text {text!r} holds half a surrogate pair: it was read in another encoding; read it as UTF-8"
            )


def _require_rows(rows: NDArray[Any], texts: Sequence[str]) -> None:
    if rows.ndim != 2 or len(rows) != len(texts):
        raise TargetError(f"encode gave shape {rows.shape} for {len(texts)} texts; (texts, dim) was expected")
    finite = np.isfinite(rows).all(axis=1) & (rows != 0).any(axis=1)
    if not finite.all():
        first = texts[int(np.argmin(finite))]
        raise TargetError(f"encode gave NaN, an infinity or a zero row for the text {first!r}")
