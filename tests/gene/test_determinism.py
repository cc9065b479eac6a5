"""Same unit, same numbers: in any chunk, split, order or company; and exactly nothing where nothing can change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from agentkit_gene.simulation.distances import Cloud, energy_distance, mmd
from agentkit_gene.simulation.experiment import Experiment
from agentkit_gene.simulation.model import Model, build_model
from agentkit_gene.simulation.params import Technical
from agentkit_gene.simulation.perturbation import parse_all, parse_perturbation
from agentkit_gene.simulation.target import load_network
from agentkit_gene.simulation.tools import perturb, screen
from tests.gene.kit import UNITS, Bench, cells_of, run, shipped

if TYPE_CHECKING:
    from agentkit_gene.simulation.readout import View

KERNELS = [("leap", 0.2), ("cle", 0.05)]


def scale_free() -> Model:
    return build_model(load_network("scalefree?genes=60&seed=2&types=3"))


def by_gene(model: Model, perturbations: list[str], name: str, **plan: object) -> dict[int, np.ndarray]:
    """Cells of one condition by gene index."""
    cells = cells_of(model, perturbations, **plan)
    program = model.program(
        model.effects([parse_perturbation(p) for p in perturbations]), everything=bool(plan.get("everything"))
    )
    row_of = program.row_of[program.conditions.index(name)]
    return {g: cells.level[r] for g, r in row_of.items()}


@pytest.mark.parametrize(("kernel", "dt"), KERNELS)
def test_chunks_companions_and_order_never_change_a_cell(kernel: str, dt: float) -> None:
    model = scale_free()
    plan = {"kernel": kernel, "dt": dt, "cells": 150, "burn_in": 4.0, "types": (0, 1, 2)}
    whole = by_gene(model, ["KO:G0", "KO:G3", "OE:G1@2", "KD:G2@0.6"], "KD:G2@0.6", **plan)
    for company, columns in (
        (["KD:G2@0.6"], 64),
        (["KD:G2@0.6", "KO:G0"], 128),
        (["OE:G1@2", "KD:G2@0.6"], 1024),
    ):
        part = by_gene(model, company, "KD:G2@0.6", columns=columns, **plan)
        assert part.keys() == whole.keys()
        assert all(np.array_equal(part[g], whole[g]) for g in whole)


@pytest.mark.parametrize(("kernel", "dt"), KERNELS)
def test_recomputing_every_gene_gives_the_bits_of_recomputing_the_descendants_alone(
    kernel: str, dt: float
) -> None:
    model = scale_free()
    plan = {"kernel": kernel, "dt": dt, "cells": 64, "burn_in": 4.0, "types": (0, 1, 2)}
    few = by_gene(model, ["KO:G3"], "KO:G3", **plan)
    every = by_gene(model, ["KO:G3"], "KO:G3", everything=True, **plan)
    base = by_gene(model, ["KO:G3"], "baseline", **plan)
    for g, level in every.items():
        assert np.array_equal(level, few.get(g, base[g]))


def test_fewer_cells_or_types_are_the_first_of_more() -> None:
    model = scale_free()
    many = cells_of(model, cells=130, types=(0, 1, 2), burn_in=4.0).level
    assert np.array_equal(cells_of(model, cells=70, types=(0, 1, 2), burn_in=4.0).level, many[:, :, :70])
    assert np.array_equal(cells_of(model, cells=130, types=(1,), burn_in=4.0).level, many[:, 1:2])


def test_layers_and_guides_are_split_proof_too() -> None:
    for layers in ("mrna+protein", "unspliced+spliced"):
        model = build_model(load_network("ffl10"), layers)
        plan = {"cells": 150, "burn_in": 4.0}
        one, many = (cells_of(model, ["KD:A@0.5~0.7"], columns=c, **plan) for c in (64, 1024))
        assert np.array_equal(one.level, many.level)
        assert one.other is not None
        assert np.array_equal(one.other, many.other)


@pytest.mark.parametrize(
    "text", ["KO:X@0", "KD:X@0", "OE:X@1", "OE:X@+0", "CUT:X>Z@0", "DRUG:X>Z@K*1", "DRUG:Y>W@h*1"]
)
def test_strength_zero_of_every_kind_is_the_baseline_bit_for_bit(text: str) -> None:
    table = run(perturb, target="grn:ffl10", perturb=[text], readout=["Z", "G", "W"], cells=64, burn_in=5)
    for metric in table.metrics:
        assert table.column(metric, text) == table.column(metric, "baseline")


def views(technical: Technical | None) -> list[tuple[str, View, np.ndarray]]:
    model = scale_free()
    from agentkit_gene.simulation.params import SimulationParams, plan_of

    params = SimulationParams(target="grn:x", cells=64, burn_in=5)
    experiment = Experiment(
        model,
        plan_of(params, model.network),
        parse_all(["KO:G0", "KO:G3", "KO:G50"]),
        [5],
        model.thresholds(),
        technical,
    )
    return [(name, view, reader.baseline) for reader, name, view in experiment.run(5)]


def test_genes_out_of_reach_do_not_change_at_all_in_levels_or_in_counts_scaled_by_a_factor() -> None:
    model = scale_free()
    for technical in (None, Technical(library="factor")):
        for name, view, baseline in views(technical):
            reach = model.network.descendants([] if name == "baseline" else [name.removeprefix("KO:")])
            for g, level in zip(view.genes, view.level, strict=True):
                if model.network.names[g] not in reach:
                    assert np.array_equal(level, baseline[g])


def test_compositional_libraries_do_shift_other_genes() -> None:
    name, view, baseline = views(Technical())[1]
    reach = scale_free().network.descendants(["G0"])
    outside = [k for k, g in enumerate(view.genes) if f"G{g}" not in reach]
    assert name == "KO:G0"
    assert any(not np.array_equal(view.level[k], baseline[view.genes[k]]) for k in outside)


def test_no_effect_has_distance_exactly_zero() -> None:
    level = cells_of(shipped("ffl10"), cells=40).level[:, 0]
    cloud = Cloud.of(level)
    for genes in (np.zeros(0, dtype=np.int64), np.array([2, 5]), np.arange(len(level))):
        xx, xy, yy = cloud.squares_with(genes, level[genes])
        assert energy_distance(xx, xy, yy) == 0
        assert mmd(xx, xy, yy, cloud.scale) == 0


def test_common_noise_makes_a_knockouts_effect_sharper() -> None:
    def effects(crn: bool) -> np.ndarray:
        table = run(perturb, UNITS, target="grn:ffl10", perturb=["KO:A"], readout="G", cells=32, crn=crn)
        return table.differences("level", {"KO:A": 1, "baseline": -1})

    assert effects(True).var() < effects(False).var() / 3


def test_a_tool_gives_the_same_numbers_for_any_split_by_units_or_conditions() -> None:
    settings = {
        "target": "grn:scalefree?genes=40&seed=1&types=2",
        "readout": "G20",
        "cells": 40,
        "order": 2,
        "genes": ["G0", "G1", "G2"],
    }
    whole = run(screen, UNITS[:2], **settings)
    shards = (["KO:G0", "KO:G1"], ["KO:G2", "KO:G0+KO:G1"], ["KO:G0+KO:G2", "KO:G1+KO:G2"])
    parts = [
        run(screen, (unit,), Bench(frozenset(["baseline", *asked])), **settings)
        for unit in UNITS[:2]
        for asked in shards
    ]
    assert type(whole).concat(parts) == whole


def test_conditions_keep_the_name_they_were_written_with_and_two_spellings_are_one() -> None:
    table = run(
        perturb, target="grn:ffl10", perturb=["A+X", "KO:X+KO:A", "ctrl"], readout="G", cells=32, burn_in=5
    )
    assert table.conditions == ("baseline", "A+X")
