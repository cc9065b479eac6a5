"""Reading somebody's predictions: complete, finite and in a declared scale, or refused. Nothing is filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agentkit_gene.simulation.errors import BadPerturbationError, BadPredictionError
from agentkit_gene.simulation.perturbation import parse_perturbation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agentkit_gene.simulation.program import Floats

SCALES = ("delta", "expression")


@dataclass(frozen=True)
class Predictions:
    """Predicted values by canonical perturbation name; rows follow the truth's genes.

    Attributes:
        scale: `delta` (change of mean log expression) or `expression` (mean log expression).
    """

    values: dict[str, Floats]
    scale: str

    def deltas(self, names: Sequence[str], control_mean: Floats) -> Floats:
        """(names, genes) predicted changes."""
        rows = np.array([self.values[canonical(n)] for n in names])
        return rows if self.scale == "delta" else rows - control_mean


def canonical(name: str) -> str:
    """One spelling of a perturbation's name; text that is no perturbation string stays as it is."""
    try:
        return parse_perturbation(name).name
    except BadPerturbationError:
        return name


def read_predictions(path: Path, genes: Sequence[str], needed: Sequence[str]) -> Predictions:
    """Predictions of an `.npz` with `values` (n, genes), `perturbation` (n,), `var_names` (genes,) and `scale`.

    Raises:
        BadPredictionError: a field, gene or perturbation is missing (the first five are listed), one is given twice,
            a value is not finite, or the declared scale cannot be true.
    """
    if not path.is_file():
        raise BadPredictionError(f"no prediction file {path}")
    if path.suffix != ".npz":
        raise BadPredictionError(
            f"{path}: predictions are read from .npz (values, perturbation, var_names, scale)"
        )
    with np.load(path, allow_pickle=False) as data:
        arrays = {k: data[k] for k in data.files}
    for field in ("values", "perturbation", "var_names", "scale"):
        if field not in arrays:
            raise BadPredictionError(
                f"{path}: field {field!r} is missing; scale is one of {', '.join(SCALES)}"
            )
    scale = str(arrays["scale"])
    names = [canonical(str(n)) for n in arrays["perturbation"]]
    columns = [str(g) for g in arrays["var_names"]]
    _require(path, "perturbation", names, [canonical(n) for n in needed])
    _require(path, "gene", columns, genes)
    values = np.asarray(arrays["values"], dtype=np.float64)
    if values.shape != (len(names), len(columns)):
        raise BadPredictionError(
            f"{path}: values have shape {values.shape}; {(len(names), len(columns))} is needed"
        )
    _require_scale(path, values, scale)
    order = [columns.index(g) for g in genes]
    return Predictions(dict(zip(names, values[:, order], strict=True)), scale)


def _require(path: Path, kind: str, given: Sequence[str], needed: Sequence[str]) -> None:
    twice = sorted({n for n in given if given.count(n) > 1})
    if twice:
        raise BadPredictionError(f"{path}: {kind} given twice: {', '.join(twice[:5])}")
    missing = [n for n in dict.fromkeys(needed) if n not in set(given)]
    if missing:
        raise BadPredictionError(
            f"{path}: {len(missing)} of {len(set(needed))} {kind}s are missing: {', '.join(missing[:5])}"
        )


def _require_scale(path: Path, values: Floats, scale: str) -> None:
    if scale not in SCALES:
        raise BadPredictionError(f"{path}: scale is {scale!r}; it must be one of {', '.join(SCALES)}")
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise BadPredictionError(f"{path}: value of row {row}, column {column} is {values[row, column]}")
    if scale == "expression" and (values < 0).any():
        raise BadPredictionError(f"{path}: negative values are declared as expression; they look like deltas")
