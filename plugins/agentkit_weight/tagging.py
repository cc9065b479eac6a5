"""Tagging words: token ids, labels and batches from labelled word lists, and what a prediction scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agentkit_weight.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Words = tuple[str, ...]


@dataclass(frozen=True)
class Tagged:
    """Word lists with one label per word, as token ids.

    Attributes:
        ids: token ids of each string, special tokens included.
        starts: position of each labelled word's first token.
        labels: one class index per labelled word.
    """

    ids: tuple[tuple[int, ...], ...]
    starts: tuple[tuple[int, ...], ...]
    labels: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Sequence[int]) -> Tagged:
        """These strings, in this order."""
        return Tagged(*(tuple(column[i] for i in indices) for column in (self.ids, self.starts, self.labels)))


@dataclass(frozen=True)
class Batch:
    """One padded batch.

    Attributes:
        inputs: token ids (b, t), or hidden states (b, t, d) where the lower layers already ran.
        keep: which tokens are real, boolean (b, t).
        places: flat index b * t + position of every labelled word, (w,).
        labels: classes (w,).
        owner: which row of the batch each word belongs to, (w,).
    """

    inputs: Tensor
    keep: Tensor
    places: Tensor
    labels: Tensor
    owner: Tensor

    def words(self, hidden: Tensor) -> Tensor:
        """Hidden states of the labelled words, (w, d), from (b, t, d)."""
        return hidden.flatten(0, 1)[self.places]


@dataclass(frozen=True)
class TagSet:
    """The classes of a data set, by name, sorted."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, data: Any) -> TagSet:
        """The tags that occur in a data target.

        Raises:
            DataError: fewer than two, or a string with another number of tags than words.
        """
        for row, (words, tags) in enumerate(zip(data.tokens, data.tags, strict=True)):
            if len(words) != len(tags):
                raise DataError(f"row {row} has {len(words)} words and {len(tags)} tags: {' '.join(words)!r}")
        names = sorted({tag for tags in data.tags for tag in tags})
        if len(names) < 2:
            raise DataError(
                f"the data hold {len(names)} class ({', '.join(names)}); tagging needs two or more"
            )
        return cls(tuple(names))

    def indices(self, tags: Sequence[str], row: int) -> tuple[int, ...]:
        """Class index of each tag; raises `DataError` naming the row of an unknown one."""
        table = {name: i for i, name in enumerate(self.names)}
        if foreign := [tag for tag in tags if tag not in table]:
            raise DataError(f"row {row}: tag {foreign[0]!r} is not one of the {len(table)} known tags")
        return tuple(table[tag] for tag in tags)

    def __len__(self) -> int:
        return len(self.names)


def tagged(tokenizer: Any, words: Sequence[Words], labels: Sequence[Sequence[int]]) -> Tagged:
    """Token ids and first-token positions of word lists; a word without a token is left out.

    Args:
        tokenizer: a `tokenizers.Tokenizer`, or a fast Hugging Face tokenizer around one.
        words: words of each string.
        labels: a class per word.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    encodings = backend.encode_batch([list(w) for w in words], is_pretokenized=True)
    ids, starts, kept = [], [], []
    for encoding, row in zip(encodings, labels, strict=True):
        first: dict[int, int] = {}
        for position, word in enumerate(encoding.word_ids):
            if word is not None:
                first.setdefault(word, position)
        ids.append(tuple(encoding.ids))
        starts.append(tuple(first.values()))
        kept.append(tuple(row[word] for word in first))
    return Tagged(tuple(ids), tuple(starts), tuple(kept))


def collate(rows: Tagged, inputs: Sequence[Tensor] | None = None, device: str = "cpu") -> Batch:
    """A batch of these strings, padded to the longest; `inputs` replaces ids by hidden states (t, d)."""
    lengths = [len(ids) for ids in rows.ids]
    longest = max(lengths)
    keep = torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]
    values = inputs if inputs is not None else [torch.tensor(ids) for ids in rows.ids]
    padded = torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True)
    places = [b * longest + p for b, starts in enumerate(rows.starts) for p in starts]
    owner = [b for b, starts in enumerate(rows.starts) for _ in starts]
    labels = [label for row in rows.labels for label in row]
    tensors = [torch.tensor(t, dtype=torch.long) for t in (places, labels, owner)]
    return Batch(padded.to(device), keep.to(device), *(t.to(device) for t in tensors))


def swap_letters(words: Words, rng: np.random.Generator, share: float = 0.5) -> Words:
    """Each word misspelt with probability `share`: two neighbouring letters swapped (a typo of typing)."""
    out = []
    for word in words:
        hit, place = rng.random() < share, rng.random()
        if hit and len(word) > 1:
            at = int(place * (len(word) - 1))
            out.append(word[:at] + word[at + 1] + word[at] + word[at + 2 :])
        else:
            out.append(word)
    return tuple(out)


def scores(predicted: np.ndarray, truth: np.ndarray, string: np.ndarray, classes: int) -> dict[str, float]:
    """`accuracy` over words, `macro_f1` over the classes that occur, `exact` over whole strings; all in [0, 1]."""
    right = predicted == truth
    wrong_in = np.zeros(int(string.max()) + 1, dtype=bool)
    np.logical_or.at(wrong_in, string, ~right)
    present = np.unique(string)
    return {
        "accuracy": float(right.mean()),
        "macro_f1": macro_f1(predicted, truth, classes),
        "exact": float(1 - wrong_in[present].mean()),
    }


def macro_f1(predicted: np.ndarray, truth: np.ndarray, classes: int) -> float:
    """Mean F1 over the classes that occur in the truth or in the prediction, in [0, 1]."""
    hits = np.bincount(truth[predicted == truth], minlength=classes)
    named = np.bincount(predicted, minlength=classes)
    there = np.bincount(truth, minlength=classes)
    occurs = (named + there) > 0
    return float((2 * hits[occurs] / (named + there)[occurs]).mean())
