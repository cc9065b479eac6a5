"""EPS-MMD and its simpler relatives, with matched-size controls: the kernel of `noise.detect`.

After Zhang et al., EPS-AD (ICML 2023): the expected perturbation score of an image is compared with those
of clean training images by a kernel distance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from agentkit import BASELINE, Measurements
from agentkit_input_noise import attacked, classify, curve_files, picture_files
from agentkit_input_noise.attack_tool import Attack
from agentkit_input_noise.attacked import CONTROLS
from agentkit_input_noise.images import measured_size
from agentkit_input_noise.needs import CLASSIFIER, IMAGES, SCORE, fetch
from agentkit_input_noise.noise_predictor import scores_of, times_up_to
from agentkit_input_noise.roc import auroc, roc
from agentkit_input_noise.sweep import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from agentkit import Context, Metric, Unit
    from agentkit_input_noise.detect_tool import Detect

METRICS = ("auroc", "accuracy")
REFERENCE_ITEMS = 500
REFERENCE_SEED = 20_234
LAST_TIME = 0.1
SINGLE_TIME = 0.05
BANDWIDTHS = (-2, -1, 0, 1, 2)
"""Powers of two by which the median squared distance is scaled; the kernel is their mean."""

ROWS = 64

_REFERENCES: WeakKeyDictionary[Any, dict[tuple[int, int], Reference]] = WeakKeyDictionary()


class Reference:
    """Expected scores of clean train images, and how far a score lies from them.

    Args:
        scores: shape (reference items, pixels).
    """

    def __init__(self, scores: Tensor) -> None:
        self._scores = scores.double()
        between = torch.cdist(self._scores, self._scores) ** 2
        self._median = float(between[between > 0].median())
        self._self_similarity = float(self._kernel(between).mean())

    def distance(self, scores: Tensor) -> NDArray[np.float64]:
        """Squared kernel distance of each single score from the reference, 1 + k(R, R) - 2 k(x, R), shape (items,)."""
        across = torch.cdist(scores.double(), self._scores) ** 2
        found: NDArray[np.float64] = (
            1 + self._self_similarity - 2 * self._kernel(across).mean(dim=1)
        ).numpy()
        return found

    def _kernel(self, squared: Tensor) -> Tensor:
        return torch.stack([(-squared / (self._median * 2.0**j)).exp() for j in BANDWIDTHS]).mean(dim=0)


def measure(params: Detect, units: Sequence[Unit], ctx: Context, metrics: Sequence[Metric]) -> Measurements:
    """All conditions on all units; see the tool's docstring."""
    classifier, data = fetch(ctx, params.target, CLASSIFIER), fetch(ctx, params.data, IMAGES)
    predictor = fetch(ctx, params.score, SCORE)
    kinds = (params.attack, *CONTROLS)
    conditions = [c for c in [BASELINE, *(name_of(k, e) for k in kinds for e in params.eps)] if ctx.wants(c)]
    attack = Attack(kind=params.attack, eps=params.eps, items=params.items)
    values = np.zeros((len(METRICS), len(units), len(conditions)))
    curves: dict[str, list[NDArray[np.float64]]] = {name: [] for name in conditions}
    sizes: dict[str, list[tuple[float, float]]] = {name: [] for name in conditions}
    shown: dict[str, picture_files.Shown] = {}
    shown_labels: list[int] = []
    for u, unit in enumerate(units):
        images, labels = classify.labelled(data, data.draw(unit.rng("items"), params.items))
        if u == 0:
            classify.require_usable(classifier, data, images, ctx.device, ctx.batch)
        moved = {BASELINE: images}
        for eps in params.eps:
            if any(ctx.wants(name_of(kind, eps)) for kind in kinds):
                variants = attacked.perturbed(attack, unit, classifier, data, images, labels, eps, ctx.device)
                moved |= {name_of(kind, eps): x for kind, x in variants.items()}
        score = detector_of(params, predictor, data, unit)
        clean = score(images)
        for c, name in enumerate(conditions):
            outputs = classify.logits(classifier, moved[name], ctx.device, ctx.batch)
            right = float((outputs.argmax(dim=1) == labels).double().mean())
            strange = score(moved[name])
            values[:, u, c] = (auroc(clean, strange), right)
            curves[name].append(roc(clean, strange))
            sizes[name].append(measured_size(moved[name], images))
            if unit.index == 0:
                shown[name], shown_labels = picture_files.some(moved[name], outputs), labels.tolist()
        ctx.progress(u + 1, len(units))
    table = Measurements.from_arrays(units, conditions, dict(zip(METRICS, values, strict=True)))
    draw(ctx, params, table, metrics)
    picture_files.write_images(ctx, shown, shown_labels)
    write_strength(ctx, params, sizes)
    if ctx.conditions is None and len(units) >= curve_files.LEAST_UNITS:
        ctx.artifact("roc.svg", picture_files.draw_roc(curves, params.eps, kinds))
    return table


def write_strength(ctx: Context, params: Detect, sizes: dict[str, list[tuple[float, float]]]) -> None:
    """Store requested beside measured sizes of a whole exploration: does the control match the attack?"""
    if ctx.conditions is None:
        requested = {name_of(kind, e): e for kind in (params.attack, *CONTROLS) for e in params.eps}
        means = {name: np.mean(sizes[name], axis=0).tolist() for name in requested}
        ctx.artifact("strength.json", [
            {"condition": name, "requested": e, "linf": means[name][0], "l2": means[name][1]}
            for name, e in requested.items()
        ])  # fmt: skip


def detector_of(params: Detect, predictor: nn.Module, data: Any, unit: Unit) -> Any:
    """The unit's detector: a function from images to one number an image, larger for stranger ones."""
    pixels = data.images[0].numel()
    times = (
        torch.tensor([SINGLE_TIME])
        if params.detector == "single_score"
        else times_up_to(LAST_TIME, params.times)
    )
    noise = torch.randn(
        (params.draws, len(times), pixels), generator=unit.torch_generator("noise.detect.score")
    )

    def length(images: Tensor) -> NDArray[np.float64]:
        found: NDArray[np.float64] = in_parts(predictor, images, noise, times).double().norm(dim=1).numpy()
        return found

    def distance(images: Tensor) -> NDArray[np.float64]:
        return reference(predictor, data, params).distance(in_parts(predictor, images, noise, times))

    return distance if params.detector == "eps_mmd" else length


def reference(predictor: nn.Module, data: Any, params: Detect) -> Reference:
    """Expected scores of the first clean train images under fixed noise, computed once per worker."""
    known = _REFERENCES.setdefault(predictor, {})
    key = (params.draws, params.times)
    if key not in known:
        images, _ = classify.labelled(data, data.train[:REFERENCE_ITEMS])
        generator = torch.Generator().manual_seed(REFERENCE_SEED)
        noise = torch.randn((params.draws, params.times, images[0].numel()), generator=generator)
        known[key] = Reference(in_parts(predictor, images, noise, times_up_to(LAST_TIME, params.times)))
    return known[key]


@torch.no_grad()
def in_parts(predictor: nn.Module, images: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Expected scores, a fixed number of images at a time (short parts are padded with their first image)."""
    done, device = [], next(predictor.parameters()).device
    noise, times = noise.to(device), times.to(device)
    for part in torch.split(images, ROWS):
        full = torch.cat([part, part[:1].expand(ROWS - len(part), *part.shape[1:])]).to(device)
        done.append(scores_of(predictor, full, noise, times)[: len(part)].cpu())
    return torch.cat(done)


def draw(ctx: curve_files.Files, params: Detect, table: Measurements, metrics: Sequence[Metric]) -> None:
    """Store AUROC with an interval over units beside both controls, and the claims worth registering."""
    if ctx.conditions is not None or len(table.units) < curve_files.LEAST_UNITS:
        return
    rows = []
    for name in table.conditions:
        column = table.column("auroc", name)
        half = float(curve_files.t_half_width(column))
        rows.append({"condition": name, "auroc": float(column.mean()), "half_width_95": half,
                     "accuracy": float(table.column("accuracy", name).mean())})  # fmt: skip
    ctx.artifact("detection.json", rows)
    levels = {name: float(table.column("auroc", name).mean()) for name in table.conditions}
    ctx.artifact("contrasts.json", [
        curve_files.claim(f"{name_of(params.attack, e)} beyond {name_of(control, e)}",
                          {name_of(params.attack, e): 1.0, name_of(control, e): -1.0}, "greater", metrics[0], levels)
        for e in params.eps for control in CONTROLS
    ])  # fmt: skip
    ctx.artifact(
        "detection.svg",
        curve_files.draw_sizes(table, metrics, (params.attack, *CONTROLS), params.eps, "L-inf size"),
    )
