"""Texts classified by an encoder: the class whose train texts lie nearest on average."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit_input_noise.embeddings import embed_clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class NearestClass:
    """Classifies embeddings by their cosine to the mean embedding of each class's train texts.

    Args:
        encoder: embeds the train texts, once per worker.
        data: a data set with `texts`, `labels` (one class index a text) and `train`.
        batch: rows of a forward, after an out-of-memory.
    """

    def __init__(self, encoder: Any, data: Any, batch: int | None) -> None:
        vectors = embed_clean(encoder, (data.texts[i] for i in data.train), batch)
        of_class: dict[int, list[NDArray[np.float64]]] = {}
        for i in data.train:
            of_class.setdefault(data.labels[i], []).append(vectors[data.texts[i]])
        self._names = np.array(sorted(of_class))
        means = np.stack([np.mean(of_class[label], axis=0) for label in self._names.tolist()])
        self._centres = means / np.linalg.norm(means, axis=1, keepdims=True)

    def of(self, rows: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
        """Class of each embedding, shape (items,)."""
        found: NDArray[np.int64] = self._names[(np.stack(rows) @ self._centres.T).argmax(axis=1)]
        return found
