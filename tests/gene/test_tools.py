"""The tools as users meet them: what they store, what they refuse, AnnData, and the plugin's manners."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agentkit.errors import MissingExtraError, ParamError
from agentkit.plugins import load_plugins
from agentkit_gene.simulation import cell_table
from agentkit_gene.simulation.errors import TooLargeError, UnknownGeneError
from agentkit_gene.simulation.tools import perturb, screen
from tests.gene.kit import UNITS, Bench, run

if TYPE_CHECKING:
    from pathlib import Path


def test_the_plugin_registers_its_tools_and_target_without_importing_anything_heavy() -> None:
    code = (
        "import sys; from agentkit.plugins import load_plugins; p = load_plugins(modules=['agentkit_gene'], allow=['agentkit_gene']);"
        "assert not p.errors, p.errors;"
        "assert {'gene.perturb', 'gene.screen', 'gene.map', 'gene.score'} <= set(p.tools), p.tools;"
        "assert 'grn' in p.targets; p.fingerprints(['grn:toggle', 'grn:scalefree?genes=100&seed=1']);"
        "print([m for m in ('torch', 'numpy', 'scipy', 'matplotlib', 'sqlmodel') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
    assert "gene.perturb" in load_plugins(modules=["agentkit_gene"], allow=["agentkit_gene"]).tools


def test_a_knock_down_flips_the_toggle() -> None:
    table = run(perturb, UNITS, target="grn:toggle", perturb=["KD:A@0.7"], readout="B", cells=64)
    assert (table.column("frac_on", "baseline") < 0.2).all()
    assert (table.column("frac_on", "KD:A@0.7") > 0.9).all()


def test_perturb_leaves_pictures_a_table_and_short_progress() -> None:
    bench = Bench()
    run(
        perturb,
        bench=bench,
        target="grn:ffl10",
        perturb=["KO:A", "OE:X@3"],
        readout=["G", "Z"],
        cells=64,
        save="moments",
    )
    assert {"violin.png", "deltas.csv", "deltas.png", "network.png", "moments.npz"} == bench.files.keys()
    rows = list(csv.DictReader(bench.files["deltas.csv"].read_text().splitlines()))
    assert {r["condition"] for r in rows} == {"KO:A", "OE:X@3"}
    assert bench.ticks[-1][0] == bench.ticks[-1][1]


def test_screen_ranks_by_effect_and_only_pairs_have_epistasis() -> None:
    bench = Bench()
    table = run(
        screen, UNITS[:2], bench, target="grn:ffl10", readout="G", order=2, genes=["A", "C", "X"], cells=32
    )
    assert table.conditions == ("baseline", "KO:A", "KO:C", "KO:X", "KO:A+KO:C", "KO:A+KO:X", "KO:C+KO:X")
    epistasis = table.array("epistasis").mean(axis=0)
    assert (epistasis[:4] == 0).all()
    assert epistasis[4] > 0.1  # A acts on G through C: losing both is no worse than losing C
    rows = list(csv.DictReader(bench.files["ranking.csv"].read_text().splitlines()))
    assert abs(float(rows[0]["level_rel_change"])) >= abs(float(rows[-1]["level_rel_change"]))
    assert "epistasis.png" in bench.files


def test_technical_noise_leaves_counts_with_the_asked_library_size() -> None:
    bench = Bench()
    technical = {
        "library_mean": 6.0,
        "library_sd": 0.0,
        "dropout_percentile": 0.0,
        "outlier_prob": 0.0,
        "dropout_shape": 50.0,
    }
    run(
        perturb,
        bench=bench,
        target="grn:ffl10",
        perturb=["KO:A"],
        readout="G",
        cells=200,
        save="cells",
        technical=technical,
    )
    with np.load(bench.files["cells.npz"]) as data:
        x = data["X"]
    assert x.dtype == np.uint16
    assert x.sum(axis=1).mean() == pytest.approx(np.exp(6.0), rel=0.1)


def saved_cells(**params: object) -> dict[str, np.ndarray]:
    bench = Bench()
    run(perturb, bench=bench, target="grn:ffl10", readout="G", cells=8, burn_in=5, save="cells", **params)
    return cell_table.read_cells(bench.files["cells.npz"])


def test_saved_cells_say_what_they_are_and_survive_anndata(tmp_path: Path) -> None:
    pytest.importorskip("anndata")
    arrays = saved_cells(perturb=["KO:A", "KO:A+KO:X", "CUT:C>G"])
    assert arrays["X"].shape == (32, 10)
    assert arrays["delta"].shape == (3, 10)
    uns = json.loads(str(arrays["uns"][0]))
    assert len(uns["network_sha256"]) == 64
    assert uns["params"]["physics"] == "leap"
    table = cell_table.to_anndata(arrays)
    table.write_h5ad(tmp_path / "c.h5ad")
    back = cell_table.read_cells(tmp_path / "c.h5ad")
    for field in ("X", "perturbation", "cell_type", "is_control", "var_names"):
        assert np.array_equal(back[field], arrays[field])
    labels = dict(zip(table.obs["perturbation"], cell_table.to_gears(table).obs["condition"], strict=True))
    assert labels == {"control": "ctrl", "KO:A": "A+ctrl", "KO:A+KO:X": "A+X", "CUT:C>G": "CUT:C>G"}
    assert set(cell_table.to_cell_eval(table).obs["target"]) == {
        "non-targeting",
        "KO:A",
        "KO:A+KO:X",
        "CUT:C>G",
    }


def test_a_missing_anndata_is_named_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = saved_cells(perturb=["KO:A"])
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(MissingExtraError, match=r"pip install agentkit-perturb\[gene\]"):
        cell_table.to_anndata(arrays)


def test_unknown_genes_types_and_oversized_screens_are_refused() -> None:
    with pytest.raises(UnknownGeneError, match="no gene 'Q'"):
        run(perturb, target="grn:ffl10", perturb=["KO:A"], readout="Q")
    with pytest.raises(UnknownGeneError, match="no gene 'a'"):
        run(perturb, target="grn:ffl10", perturb=["KO:a"], readout="G")
    with pytest.raises(UnknownGeneError, match="'H'"):
        run(screen, target="grn:ffl10", genes=["H"], readout="G")
    with pytest.raises(ParamError, match="types 0 to 0"):
        run(perturb, target="grn:ffl10", perturb=["KO:A"], readout="G", types=[3])
    with pytest.raises(TooLargeError, match=r"28 conditions .* max_conditions 10"):
        run(screen, target="grn:ffl10", readout="G", order=2, max_conditions=10)


def test_sergio_compat_is_one_clamped_trajectory() -> None:
    table = run(
        perturb, target="grn:ffl10", perturb=["KO:A"], readout="G", cells=20, burn_in=3, sergio_compat=True
    )
    assert "shift" not in table.metrics
    assert table.column("boundary", "baseline") >= 0
