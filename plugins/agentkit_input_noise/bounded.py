"""Verified margins of drawn images: the kernel of `noise.bounds`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from agentkit import BASELINE, Measurements
from agentkit_input_noise import bounds, classify, curve_files
from agentkit_input_noise.bounds import InputBall
from agentkit_input_noise.margins import verified_margins
from agentkit_input_noise.needs import CLASSIFIER, IMAGES, fetch
from agentkit_input_noise.sweep import wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from agentkit import Context, Metric, Unit
    from agentkit_input_noise.bounds_tool import Bounds

METRICS = ("verified", "mean_width")
MOST_COEFFICIENTS = 1 << 24
"""Coefficients of linear functions held at once (64 MiB)."""


def measure(params: Bounds, units: Sequence[Unit], ctx: Context, metrics: Sequence[Metric]) -> Measurements:
    """All methods and radii on all units; see the tool's docstring."""
    network, data = fetch(ctx, params.target, CLASSIFIER), fetch(ctx, params.data, IMAGES)
    bounds.layers(network)
    cells = wanted(params.methods, params.eps, ctx)
    conditions = [BASELINE, *cells]
    values = np.zeros((len(METRICS), len(units), len(conditions)))
    for u, unit in enumerate(units):
        images, labels = classify.labelled(data, data.draw(unit.rng("items"), params.items))
        if u == 0:
            classify.require_usable(network, data, images, ctx.device)
        plain = classify.logits(network, images, ctx.device).argmax(dim=1)
        there = images.to(ctx.device), labels.to(ctx.device)
        values[:, u, 0] = (float((plain == labels).double().mean()), 0.0)
        for c, (method, eps) in enumerate(cells.values(), 1):
            low, high = in_parts(network, *there, eps, params.norm, method)
            values[:, u, c] = (
                float((low > 0).all(dim=1).double().mean()),
                float((high - low).double().mean()),
            )
        ctx.progress(u + 1, len(units))
    table = Measurements.from_arrays(units, conditions, dict(zip(METRICS, values, strict=True)))
    draw(ctx, params, table, metrics)
    return table


def draw(ctx: curve_files.Files, params: Bounds, table: Measurements, metrics: Sequence[Metric]) -> None:
    """Store verified share and width by radius and method, with intervals over units, as `bounds.json` and `.svg`."""
    if ctx.conditions is not None or len(table.units) < curve_files.LEAST_UNITS:
        return
    rows = [
        {"condition": name, metric: float(column.mean()), "half_width_95": curve_files.t_half_width(column)}
        for metric in table.metrics
        for name in table.conditions
        for column in [table.column(metric, name)]
    ]
    ctx.artifact("bounds.json", rows)
    ctx.artifact(
        "bounds.svg",
        curve_files.draw_sizes(table, metrics, params.methods, params.eps, f"radius (L-{params.norm})"),
    )


def in_parts(
    network: nn.Module, images: Tensor, labels: Tensor, eps: float, norm: str, method: str
) -> tuple[Tensor, Tensor]:
    """Bounds of the margins, a few images at a time: coefficients of a wide layer fill memory quickly."""
    with torch.no_grad():
        widest = max(shape.numel() for shape in bounds.shapes(bounds.layers(network), images[:1]))
    size = max(1, MOST_COEFFICIENTS // widest**2)
    parts = [
        verified_margins(network, InputBall(x, eps, norm), y, method)
        for x, y in zip(torch.split(images, size), torch.split(labels, size), strict=True)
    ]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
