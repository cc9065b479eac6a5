"""The bodies of `attention.probe_layers` and `attention.probe_edit`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agentkit import BASELINE, Measurements
from agentkit.errors import ParamError, TargetError, unknown
from agentkit_attention.errors import BadLabelsError, ProbeTooWeakError, UnknownSiteError
from agentkit_attention.models import describe
from agentkit_attention.pictures import lines
from agentkit_attention.probes import Probe, edit_to, fit_probe
from agentkit_attention.sites import from_the_end

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from agentkit import Context, Unit
    from agentkit_attention.probe_tools import ProbeEdit, ProbeLayers

    Array = NDArray[np.float64]

ROWS = 32
"""Texts per forward pass."""


@dataclass(frozen=True)
class Sample:
    """One unit's texts and labels, split: `fit` to learn from, `test` to report on.

    Attributes:
        texts: the drawn texts.
        labels: class of each, int64 [texts].
        classes: names of the classes.
        fit, test: disjoint indices.
    """

    texts: list[str]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    fit: NDArray[np.int64]
    test: NDArray[np.int64]


def run_layers(params: ProbeLayers, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Probe every asked layer on every unit."""
    encoder, data = ctx.target(params.target), ctx.target(params.data)
    blocks = blocks_of(encoder, params.layers)
    table = Measurements.builder(units)
    for done, unit in enumerate(units):
        sample = draw(params, unit, data)
        states = hidden_states(encoder, sample.texts, list(blocks.values()), params.pool)
        y, n_classes = sample.labels, len(sample.classes)
        share = np.bincount(y[sample.fit], minlength=n_classes) / len(sample.fit)
        base_nll = float(-np.log(share[y[sample.test]]).mean())
        table.add(unit, BASELINE, "accuracy", float((y[sample.test] == share.argmax()).mean()))
        table.add(unit, BASELINE, "nll", base_nll)
        table.add(unit, BASELINE, "v_info", 0.0)
        shuffled = y.copy()
        shuffled[sample.fit] = unit.rng("shuffle").permutation(y[sample.fit])
        for name, block in blocks.items():
            for condition, labels in ((name, y), (f"shuffled:{name}", shuffled)):
                if not ctx.wants(condition):
                    continue
                probe = fit_probe(states[block][sample.fit], labels[sample.fit], n_classes, params.C)
                nll = probe.nll(states[block][sample.test], y[sample.test])
                table.add(
                    unit, condition, "accuracy", probe.accuracy(states[block][sample.test], y[sample.test])
                )
                table.add(unit, condition, "nll", nll)
                table.add(unit, condition, "v_info", base_nll - nll)
        ctx.progress(done + 1, len(units))
    built = table.build()
    ctx.artifact("layers.svg", by_layer(built))
    return built


def by_layer(table: Measurements) -> Any:
    """A figure: held-out accuracy over layers, beside the same probe on shuffled labels and class frequencies."""
    groups: dict[str, dict[float, Array]] = {}
    for condition in table.conditions[1:]:
        kind, _, layer = condition.rpartition(":")
        name = "shuffled labels" if kind else "probe"
        groups.setdefault(name, {})[float(layer[1:])] = table.column("accuracy", condition)
    places = sorted({p for points in groups.values() for p in points})
    groups["class frequencies"] = dict.fromkeys(places, table.column("accuracy", BASELINE))
    return lines(groups, x="layer", y="held-out accuracy")


def run_edit(params: ProbeEdit, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Edit at every asked layer on every unit."""
    encoder, data = ctx.target(params.target), ctx.target(params.data)
    blocks = {n: b for n, b in blocks_of(encoder, params.layers).items() if ctx.wants(n)}
    last = list(blocks_of(encoder, "L*").values())[-1]
    table = Measurements.builder(units)
    for done, unit in enumerate(units):
        _edit_one_unit(params, unit, encoder, data, blocks, last, table)
        ctx.progress(done + 1, len(units))
    return table.build()


def _edit_one_unit(
    params: ProbeEdit, unit: Unit, encoder: Any, data: Any, blocks: dict[str, str], last: str, table: Any
) -> None:
    sample = draw(params, unit, data)
    if params.label not in sample.classes:
        raise ParamError(unknown("class", params.label, sample.classes))
    target, n_classes, y = sample.classes.index(params.label), len(sample.classes), sample.labels
    states = hidden_states(encoder, sample.texts, [*blocks.values(), last], params.pool)
    climbed, judged = sample.fit[::2], sample.fit[1::2]
    judge = fit_probe(states[last][judged], y[judged], n_classes, params.C)
    probes = {b: fit_probe(states[b][climbed], y[climbed], n_classes, params.C) for b in blocks.values()}
    _require_good(params, probes, states, sample, blocks)
    texts = [sample.texts[i] for i in sample.test]
    table.add(
        unit, BASELINE, "judge", float(judge.probabilities(states[last][sample.test])[:, target].mean())
    )
    table.add(unit, BASELINE, "relative_norm", 0.0)
    for name, block in blocks.items():
        before = states[block][sample.test]
        edited, reached = edit_to(probes[block], before, target, params.p_star, params.max_iter)
        _require_some_reached(params, name, probes[block].probabilities(before)[:, target], reached)
        norm = np.linalg.norm(edited - before, axis=1) / np.linalg.norm(before, axis=1)
        if params.max_norm is not None:
            far = norm > params.max_norm
            edited[far], norm[far], reached[far] = before[far], 0.0, False
        after = hidden_states(encoder, texts, [last], params.pool, shift=(block, edited - before))[last]
        table.add(unit, name, "p_target", float(probes[block].probabilities(edited)[:, target].mean()))
        table.add(unit, name, "judge", float(judge.probabilities(after)[:, target].mean()))
        table.add(unit, name, "reached", float(reached.mean()))
        table.add(unit, name, "relative_norm", float(norm.mean()))


def _require_good(
    params: ProbeEdit,
    probes: dict[str, Probe],
    states: dict[str, Array],
    sample: Sample,
    blocks: dict[str, str],
) -> None:
    accuracy = {
        n: probes[b].accuracy(states[b][sample.test], sample.labels[sample.test]) for n, b in blocks.items()
    }
    weak = {n: a for n, a in accuracy.items() if a < params.min_acc}
    if weak:
        listing = ", ".join(f"{n} {a:.2f}" for n, a in accuracy.items())
        raise ProbeTooWeakError(
            f"{', '.join(weak)}: probe accuracy below min_acc {params.min_acc:g} ({listing}); "
            "choose other layers or labels, or lower min_acc"
        )


def _require_some_reached(params: ProbeEdit, name: str, before: Array, reached: NDArray[np.bool_]) -> None:
    """Refuse an edit that moves nobody; `before` are the unedited probabilities of the class, [items]."""
    away = before < params.p_star
    if away.any() and not reached[away].any():
        raise ProbeTooWeakError(
            f"{name}: none of {away.sum()} texts can be moved to {params.label!r} with probability "
            f"{params.p_star:g} in {params.max_iter} steps; lower p_star, raise max_iter or choose another label"
        )


def draw(params: ProbeLayers, unit: Unit, data: Any) -> Sample:
    """One unit's texts, labels and split; every class has at least two texts on both sides.

    Raises:
        BadLabelsError: a class is too rare for that. TargetError: the data has no labels.
    """
    rng = unit.rng("items")
    labels = text_labels(data, params.labels)
    if params.n > len(labels):
        raise ParamError(f"n {params.n}: {params.data} has {len(labels)} labelled texts")
    chosen = rng.choice(len(labels), params.n, replace=False)
    classes = tuple(sorted(set(labels)))
    y = np.array([classes.index(labels[i]) for i in chosen], dtype=np.int64)
    n_test = round(params.n * params.test)
    fit, test = np.arange(n_test, params.n), np.arange(n_test)
    for side, index in (("training", fit), ("test", test)):
        count = np.bincount(y[index], minlength=len(classes))
        if (count < 2).any() or len(classes) < 2:
            rare = classes[int(count.argmin())]
            raise BadLabelsError(
                f"class {rare!r} has {count.min()} of {len(index)} {side} texts; raise n or choose other labels"
            )
    return Sample([data.texts[i] for i in chosen], y, classes, fit, test)


def text_labels(data: Any, tag: str | None) -> list[str]:
    """A label for every text: whether it holds a word with that tag, or the data's own."""
    if tag is None:
        if not hasattr(data, "labels") or not hasattr(data, "texts"):
            raise TargetError("the data has no labels of its own; name a tag in `labels`")
        return [str(label) for label in data.labels]
    if not hasattr(data, "tags"):
        raise TargetError(f"labels {tag!r}: the data tags no words; use its own labels (labels: null)")
    known = sorted({t for tags in data.tags for t in tags})
    if tag not in known:
        raise ParamError(unknown("tag", tag, known))
    return ["yes" if tag in tags else "no" for tags in data.tags]


def blocks_of(encoder: Any, pattern: str) -> dict[str, str]:
    """Module paths of the blocks whose names `L0`, `L1`, … match, in order."""
    blocks = dict.fromkeys(s.block for s in describe(encoder).table.sites)
    named = {f"L{i}": block for i, block in enumerate(blocks)}
    parts = [from_the_end(p, len(named)) for p in pattern.replace(",", " ").split()]
    chosen = {n: b for n, b in named.items() if any(fnmatchcase(n, p) for p in parts)}
    if not chosen:
        raise UnknownSiteError(f"no layer matches {pattern!r}; the layers are L0 to L{len(named) - 1}")
    return chosen


def hidden_states(
    encoder: Any,
    texts: Sequence[str],
    blocks: Sequence[str],
    pool: str,
    shift: tuple[str, Array] | None = None,
) -> dict[str, Array]:
    """Pooled outputs of blocks for each text, float64 [texts, dim].

    Args:
        encoder: a text target with `.model` and `.inputs(texts)`.
        texts: in any number; they run in batches of 32 in their order.
        blocks: module paths.
        pool: `mean` over real tokens, `cls` the first, `last` the last real one.
        shift: add to the output of one block, for each text a vector [dim]: to all tokens with `mean`,
            so that the pooled state moves by just that vector, else to the pooled token.
    """
    parts: dict[str, list[Tensor]] = {b: [] for b in blocks}
    for start in range(0, len(texts), ROWS):
        inputs = encoder.inputs(texts[start : start + ROWS])
        keep = _real_tokens(inputs)
        weight = _pool_weight(keep, pool)
        with torch.no_grad(), contextlib.ExitStack() as cleanup:
            if shift is not None:
                delta = torch.from_numpy(shift[1][start : start + ROWS]).to(weight)
                where = keep if pool == "mean" else weight
                hook = _shifter(delta[:, None] * where[..., None])
                cleanup.callback(encoder.model.get_submodule(shift[0]).register_forward_hook(hook).remove)
            for block in set(blocks):
                hook = _reader(parts[block], weight)
                cleanup.callback(encoder.model.get_submodule(block).register_forward_hook(hook).remove)
            encoder.model(**inputs)
    return {b: torch.cat(p).double().cpu().numpy() for b, p in parts.items()}


def _real_tokens(inputs: dict[str, Tensor]) -> Tensor:
    mask = inputs["attention_mask"]
    return (mask[:, 0, 0] if mask.dim() == 4 else mask).float()


def _pool_weight(keep: Tensor, pool: str) -> Tensor:
    if pool == "mean":
        return keep / keep.sum(1, keepdim=True)
    at = torch.zeros(len(keep), dtype=torch.long) if pool == "cls" else keep.sum(1).long() - 1
    return torch.nn.functional.one_hot(at.to(keep.device), keep.shape[1]).to(keep)


def _shifter(delta: Tensor) -> Callable[..., Any]:
    def hook(module: Any, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (output[0] + delta, *output[1:])
        return output + delta

    return hook


def _reader(into: list[Tensor], weight: Tensor) -> Callable[..., None]:
    def hook(module: Any, args: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        into.append(torch.einsum("bs,bsd->bd", weight.to(hidden), hidden))

    return hook
