"""Everything a tool needs about one tagging task: sites, encoder, and the strings of a unit."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from agentkit.errors import ParamError, TargetError
from agentkit_weight.encoder import Encoder, Rows
from agentkit_weight.errors import DataError
from agentkit_weight.sites import find_sites
from agentkit_weight.tagging import Tagged, TagSet, swap_letters, tagged
from agentkit_weight.training import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from agentkit import Context, Unit
    from agentkit_weight.params import LoraParams, TaskParams

_PREFIXES: WeakKeyDictionary[Any, dict[Any, list[Tensor]]] = WeakKeyDictionary()
_KEPT_PREFIXES = 3


class Task:
    """One model, one data set, one choice of sites; what does not depend on the unit is made once.

    Attributes:
        model: the user's model, in evaluation mode while the task is open.
        tokenizer: the target's tokenizer.
        sites: the chosen linear layers by name.
        tags: the classes.
        encoder: the model from the lowest chosen block upwards.
        features: the model with every layer cached (for a head alone).
        load: the target behind a URI.
    """

    def __init__(self, params: TaskParams, ctx: Context) -> None:
        target, data = ctx.target(params.target), ctx.target(params.data)
        for name in ("model", "tokenizer"):
            if not hasattr(target, name):
                raise TargetError(
                    f"{params.target}: a text encoder with .model and .tokenizer is needed, for example minilm:"
                )
        for name in ("tokens", "tags", "train", "test"):
            if not hasattr(data, name):
                raise TargetError(
                    f"{params.data}: labelled words with .{name} are needed, for example addresses:"
                )
        self.params, self.data, self.load = params, data, ctx.target
        self.model: Any = target.model
        self.tokenizer: Any = target.tokenizer
        self.sites = find_sites(self.model, params.targets, params.top_layers)
        self.tags = TagSet.of(data)
        self.labels = [self.tags.indices(tags, row) for row, tags in enumerate(data.tags)]
        self.all = tagged(self.tokenizer, data.tokens, self.labels)
        self.width = int(self.model.config.hidden_size)
        self.pool = [*data.train, *data.test]
        if not data.train or not data.test:
            raise DataError(
                f"{params.data}: {len(data.train)} training and {len(data.test)} test strings; need both"
            )
        with evaluation_mode(self.model):
            self.encoder = Encoder.for_sites(self.model, self.sites, self.all)
            self.features = Encoder.features(self.model, self.all)
            self.whole = Encoder(self.model, None, self.all)
        self._rows: dict[int, Rows] = {}

    def rows(self, encoder: Encoder) -> Rows:
        """All strings, their lower layers run once and shared by every condition, unit and job of the process."""
        if id(encoder) not in self._rows:
            self._rows[id(encoder)] = Rows(encoder, self.all, _shared_prefix(encoder, self.all))
        return self._rows[id(encoder)]

    def split(self, unit: Unit) -> tuple[list[int], list[int]]:
        """Indices to train on and to test on: a fresh draw per unit, in the data's own proportions."""
        order = unit.rng("split").permutation(len(self.pool))
        shuffled = [self.pool[i] for i in order]
        cut = len(self.data.train)
        train_n, test_n = self.params.train_n, self.params.test_n
        for wanted, have, what in ((train_n, cut, "train_n"), (test_n, len(self.data.test), "test_n")):
            if wanted is not None and wanted > have:
                raise ParamError(f"{what} {wanted}: {self.params.data} has {have} such strings")
        return shuffled[:cut][:train_n], shuffled[cut:][:test_n]

    def typos(self, unit: Unit, indices: Sequence[int], encoder: Encoder) -> Rows:
        """These strings with two letters swapped in half of their words; labels stay."""
        rng = unit.rng("typo")
        words = [swap_letters(tuple(self.data.tokens[i]), rng) for i in indices]
        return Rows(encoder, tagged(self.tokenizer, words, [self.labels[i] for i in indices]))

    def shuffled_labels(self, unit: Unit, rows: Rows) -> Rows:
        """The same strings, the labels of all their words permuted: nothing is left to learn."""
        flat = np.array([label for row in rows.rows.labels for label in row])
        flat = unit.rng("shuffled-labels").permutation(flat)
        cuts = np.cumsum([len(row) for row in rows.rows.labels])[:-1]
        return rows.relabelled(tuple(tuple(int(x) for x in part) for part in np.split(flat, cuts)))

    def recipe(self, params: LoraParams, *, by_passes: bool = False, dtype: str = "float32") -> Recipe:
        """Sizes and rates of a training on this task."""
        return Recipe(
            epochs=params.epochs,
            batch=params.batch,
            lr=params.lr,
            r=params.r,
            alpha=params.alpha or 2 * params.r,
            classes=len(self.tags),
            width=self.width,
            by_passes=by_passes,
            dtype=dtype,
        )


def _shared_prefix(encoder: Encoder, rows: Tagged) -> list[Tensor]:
    """The lower layers' output for these strings, kept for the next job on this very model.

    The key holds where every parameter lies and how often it was written: weights that changed are run again.
    """
    written = tuple((p.data_ptr(), p._version) for p in encoder.model.parameters())
    key = (encoder.start, hash(rows.ids), hash(written))
    kept = _PREFIXES.setdefault(encoder.model, {})
    if key not in kept:
        while len(kept) >= _KEPT_PREFIXES:
            del kept[next(iter(kept))]
        kept[key] = encoder.prefix(rows)
    return kept[key]


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """The model without dropout inside the block, and as it was after it."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
