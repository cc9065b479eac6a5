"""Cells of an experiment as one table: arrays for `.npz`, an AnnData, and the labels other packages expect."""

from __future__ import annotations

import importlib.metadata
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit import BASELINE
from agentkit.errors import MissingExtraError
from agentkit_gene.simulation.perturbation import parse_perturbation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agentkit_gene.simulation.experiment import Experiment
    from agentkit_gene.simulation.params import SimulationParams
    from agentkit_gene.simulation.readout import Reader, View

CONTROL = "control"
FIELDS = ("perturbation", "cell_type", "dose", "is_control")


def cell_arrays(
    reader: Reader,
    views: Sequence[tuple[str, View]],
    experiment: Experiment,
    fingerprint: str,
    params: SimulationParams,
) -> dict[str, np.ndarray]:
    """Arrays of one unit: `X` (cells, genes), the fields of each cell, `var_names`, noise-free deltas and `uns` (JSON).

    Counts are uint16 where they fit, else float32.
    """
    network = experiment.model.network
    n_types, n_cells = reader.baseline.shape[1:]
    blocks, names = [], []
    for name, view in views:
        level = reader.baseline.copy()
        level[view.genes] = view.level
        blocks.append(level.reshape(len(level), -1).T)
        names.append(CONTROL if name == BASELINE else name)
    x = np.concatenate(blocks)
    if np.array_equal(x, np.rint(x)) and x.max(initial=0) < 2**16:
        x = x.astype(np.uint16)
    per_condition = n_types * n_cells
    types = np.repeat([network.types[t] for t in experiment.plan.types], n_cells)
    return {
        "X": x,
        "perturbation": np.repeat(names, per_condition),
        "cell_type": np.tile(types, len(names)),
        "dose": np.repeat([_dose(n) for n in names], per_condition),
        "is_control": np.repeat([n == CONTROL for n in names], per_condition),
        "var_names": np.array(network.names),
        **_noise_free_deltas(experiment, [n for n in names if n != CONTROL]),
        "uns": np.array([json.dumps(_provenance(experiment, fingerprint, params), sort_keys=True)]),
    }


def _dose(name: str) -> float:
    """The value of a single perturbation; NaN for the control and for combinations."""
    parts = parse_perturbation(name).parts
    return parts[0].value if len(parts) == 1 else float("nan")


def _noise_free_deltas(experiment: Experiment, names: Sequence[str]) -> dict[str, np.ndarray]:
    """`delta` (conditions, genes): noise-free change of log1p level; absent where the network does not come to rest."""
    from agentkit_gene.simulation.errors import NoSteadyStateError
    from agentkit_gene.simulation.moments import moments_of

    try:
        found = moments_of(experiment.model, experiment.perturbations, lna=False)
    except NoSteadyStateError:
        return {}
    types = list(experiment.plan.types)
    logs = {n: np.log1p(m.mean[:, types]).mean(axis=1) for n, m in found.items()}
    rows = [logs[n] - logs[BASELINE] for n in names]
    return {
        "delta": np.array(rows).reshape(len(names), -1),
        "delta_condition": np.array(list(names), dtype=str),
    }


def _provenance(experiment: Experiment, fingerprint: str, params: SimulationParams) -> dict[str, Any]:
    return {
        "network_sha256": fingerprint,
        "network": experiment.model.network.name,
        "params": params.model_dump(mode="json"),
        "versions": {p: importlib.metadata.version(p) for p in ("torch", "numpy", "agentkit-perturb")},
    }


def to_anndata(arrays: Mapping[str, np.ndarray]) -> Any:
    """An AnnData of the arrays: X, `obs` fields, `varm["delta"]`, `uns["agentkit"]`.

    Raises:
        MissingExtraError: anndata is not installed.
    """
    anndata, pandas = _anndata()
    obs = pandas.DataFrame({f: arrays[f] for f in FIELDS if f in arrays})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    table = anndata.AnnData(X=arrays["X"], obs=obs, var=pandas.DataFrame(index=list(arrays["var_names"])))
    if "delta" in arrays:
        table.varm["delta"] = np.ascontiguousarray(arrays["delta"].T)
        table.uns["delta_condition"] = [str(n) for n in arrays["delta_condition"]]
    if "uns" in arrays:
        table.uns["agentkit"] = str(arrays["uns"][0])
    return table


def _anndata() -> tuple[Any, Any]:
    try:
        import anndata
        import pandas
    except ImportError:
        raise MissingExtraError(".h5ad needs anndata; run: pip install agentkit-perturb[gene]") from None
    return anndata, pandas


def to_gears(table: Any) -> Any:
    """A copy with GEARS' labels: `condition` (`A+ctrl`, `A+B`, `ctrl`) in obs and `gene_name` in var.

    Only knock-outs, knock-downs and over-expression of one or two genes have such a label; others keep their name.
    """
    copy = table.copy()
    copy.obs["condition"] = [_gears_label(str(n)) for n in copy.obs["perturbation"]]
    copy.var["gene_name"] = list(copy.var_names)
    return copy


def _gears_label(name: str) -> str:
    parts = parse_perturbation(name).parts
    if not parts:
        return "ctrl"
    if any(p.target for p in parts) or len(parts) > 2:
        return name
    return "+".join([p.gene for p in parts] + ["ctrl"] * (2 - len(parts)))


def to_cell_eval(table: Any) -> Any:
    """A copy with cell-eval's labels: obs `target`, controls named `non-targeting`."""
    copy = table.copy()
    copy.obs["target"] = [
        "non-targeting" if c else str(n)
        for n, c in zip(copy.obs["perturbation"], copy.obs["is_control"], strict=True)
    ]
    return copy


def read_cells(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` or `.h5ad` file (fields as `cell_arrays` writes them)."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as data:
            return {k: data[k] for k in data.files}
    anndata, _ = _anndata()
    table = anndata.read_h5ad(path)
    x = table.X.toarray() if hasattr(table.X, "toarray") else np.asarray(table.X)
    arrays = {"X": x, "var_names": np.array([str(n) for n in table.var_names])}
    for field in FIELDS:
        if field in table.obs:
            values = table.obs[field].to_numpy()
            arrays[field] = values if values.dtype.kind in "fbiu" else np.array([str(v) for v in values])
    return arrays
