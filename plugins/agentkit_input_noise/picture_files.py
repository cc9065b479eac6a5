"""Pictures of single items: images before and after noise with what was predicted, and ROC curves with a band."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agentkit import BASELINE
from agentkit_input_noise.curve_files import COLOURS, EXAMPLES, svg_figure, t_half_width
from agentkit_input_noise.roc import RATES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from agentkit import Context

MOST_ROWS = 16
"""Conditions shown on one page of examples; of more, as many spread over all kinds and strengths."""


class Shown(NamedTuple):
    """Some items in one condition: images of shape (items, channels, height, width), and the class predicted for each."""

    images: Tensor
    predicted: list[int]


def write_images(ctx: Context, shown: Mapping[str, Shown], labels: Sequence[int] | None) -> None:
    """Store `examples.svg` (a row a condition, first items of the first unit) and `examples.json` of a whole call."""
    if ctx.conditions is not None or BASELINE not in shown:
        return
    clean = shown[BASELINE].predicted
    ctx.artifact("examples.json", {
        name: [
            {"before": before, "after": after, "label": None if labels is None else labels[i]}
            for i, (before, after) in enumerate(zip(clean, of.predicted, strict=True))
        ]
        for name, of in shown.items()
    })  # fmt: skip
    ctx.artifact("examples.svg", draw_images(shown, labels))


def some(images: Tensor, outputs: Tensor) -> Shown:
    """The first items of a condition, with the classes of largest logit."""
    return Shown(images[:EXAMPLES], outputs[:EXAMPLES].argmax(dim=1).tolist())


def draw_images(shown: Mapping[str, Shown], labels: Sequence[int] | None) -> str:
    """A row of pictures a condition; a frame is red where the prediction is wrong (or flipped, without labels)."""
    names = list(shown)
    spread = np.linspace(0, len(names) - 1, min(MOST_ROWS, len(names))).round().astype(int)
    rows = {names[i]: shown[names[i]] for i in spread}
    columns = len(next(iter(rows.values())).predicted)
    truth = shown[BASELINE].predicted if labels is None else list(labels)
    with svg_figure(columns, len(rows), panel=(1.1, 1.2)) as (panels, text):
        for r, (name, of) in enumerate(rows.items()):
            for c, predicted in enumerate(of.predicted):
                axes = panels[r * columns + c]
                pixels = of.images[c].permute(1, 2, 0).numpy()
                axes.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
                wrong = predicted != truth[c]
                axes.set_title(str(predicted), fontsize=8, pad=2, color=COLOURS[1] if wrong else "black")
                axes.set(xticks=[], yticks=[])
                for spine in axes.spines.values():
                    spine.set(
                        visible=True, color=COLOURS[1] if wrong else "0.8", linewidth=2 if wrong else 0.5
                    )
            panels[r * columns].set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")
    return text.getvalue()


def draw_roc(
    curves: Mapping[str, Sequence[NDArray[np.float64]]], sizes: Sequence[float], kinds: Sequence[str]
) -> str:
    """One panel a size: mean ROC over units of the attack and its controls, with a 95 % band; as SVG text."""
    with svg_figure(len(sizes)) as (panels, text):
        for axes, size in zip(panels, sorted(sizes), strict=True):
            for colour, kind in zip(COLOURS, kinds, strict=False):
                units = np.array(curves[f"{kind}={size:g}"])
                mean = units.mean(axis=0)
                half = np.array([t_half_width(column) for column in units.T])
                axes.fill_between(
                    RATES, (mean - half).clip(0, 1), (mean + half).clip(0, 1), color=colour, alpha=0.2, lw=0
                )
                axes.plot(RATES, mean, lw=1.3, color=colour, label=f"{kind} (mean, 95 % over units)")
            axes.plot([0, 1], [0, 1], color="0.6", lw=0.8, ls=":", label="no detection")
            axes.set(
                xlabel="false positive rate",
                ylabel="true positive rate",
                title=f"size {size:g}",
                xlim=(0, 1),
                ylim=(0, 1.02),
            )
    return text.getvalue()
