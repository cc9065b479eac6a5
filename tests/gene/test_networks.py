"""Networks: shipped facts, files in and out, cycles, and every fault named."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from agentkit.errors import TargetError
from agentkit_gene.simulation.boolean import read_rule, synchronous_attractors
from agentkit_gene.simulation.errors import (
    BadNetworkError,
    NoSteadyStateError,
    TooLargeError,
    UnsafeStepError,
)
from agentkit_gene.simulation.model import build_model
from agentkit_gene.simulation.network import Edge, Gene, Network
from agentkit_gene.simulation.readers import read_bnet, read_network
from agentkit_gene.simulation.steady import full_jacobian
from agentkit_gene.simulation.target import fingerprint, grn, load_network, shipped_names
from agentkit_gene.simulation.toml_format import read_toml, to_toml
from agentkit_gene.simulation.tools import effect_map, perturb, screen
from tests.gene.kit import Bench, cells_of, run, shared_data, shipped

if TYPE_CHECKING:
    from pathlib import Path


def test_the_toggle_rests_at_its_exact_fixed_point() -> None:
    assert shipped("toggle").wild_type[:, 0] == pytest.approx(10 * (2 + np.array([1, -1]) * 3**0.5), abs=1e-8)


@pytest.mark.parametrize(("factor", "largest"), [(1.0, 0.0), (0.99, -0.0014), (1.01, 0.0014)])
def test_the_repressilator_turns_unstable_at_three_root_two(factor: float, largest: float) -> None:
    network = load_network("repressilator")
    strength = -40.0 * 3 * 2**0.5 * factor
    genes = tuple(
        replace(g, edges=tuple(replace(e, strength=strength) for e in g.edges)) for g in network.genes
    )
    model = build_model(replace(network, genes=genes), "mrna+protein")
    program = model.program([])
    equations = model.deterministic(program)
    x = torch.full((3, 1), _symmetric_level(-strength, 40.0), dtype=torch.float64)
    (_, _, production), *_ = equations.production_jacobian(x)
    eigenvalues = torch.linalg.eigvals(
        full_jacobian(equations, production, sorted(program.row_of[0].values()))
    )
    assert float(eigenvalues.real.max()) == pytest.approx(largest, abs=1e-4)


def _symmetric_level(strength: float, half: float) -> float:
    """x with x = K / (1 + (x/h)^2)."""
    roots = np.roots([1, 0, half**2, -strength * half**2])
    return float(roots[abs(roots.imag) < 1e-9].real[0])


def test_the_cell_cycle_rules_have_one_resting_state_and_one_cycle_of_seven() -> None:
    (rest, rest_basin), (cycle, cycle_basin) = synchronous_attractors(load_network("cellcycle").rules)
    assert rest == (frozenset({"Rb", "p27", "Cdh1"}),)
    assert (len(cycle), rest_basin, cycle_basin) == (7, 512, 512)


def test_rules_read_in_every_common_spelling() -> None:
    for text in ("A & !(B | C)", "A and not (B or C)", "A && ~(B || C)"):
        value, names = read_rule(text, "here")
        assert names == ("A", "B", "C")
        assert [value(dict(zip("ABC", bits, strict=True))) for bits in ((1, 0, 0), (1, 1, 0), (0, 0, 0))] == [
            True,
            False,
            False,
        ]
    for text in ("A &", "(A", "A B", "& A"):
        with pytest.raises(BadNetworkError, match="here"):
            read_rule(text, "here")


def test_a_rule_network_rests_at_its_boolean_fixed_point() -> None:
    model = shipped("cellcycle")
    on = {n for n, m in zip(model.network.names, model.wild_type[:, 0], strict=True) if m > 20}
    assert on == {"Rb", "p27", "Cdh1"}


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_networks_survive_writing_say_where_they_come_from_and_fit_a_planner(name: str) -> None:
    network = load_network(name)
    assert replace(read_toml(to_toml(network), "x"), rules=network.rules) == network
    assert network.source
    assert "ours" in network.kinetics
    assert len(grn.load(name, "cpu").describe().encode()) <= 2000


def test_a_large_networks_description_stays_short() -> None:
    text = grn.load("scalefree?genes=400&seed=1", "cpu").describe()
    assert "400 genes" in text
    assert len(text.encode()) <= 2000


CYCLES = {
    "self activation": (Gene("A", 0.8, (1.0,), (Edge("A", 2.0, 2.0),)),),
    "self repression": (Gene("A", 0.8, (1.0,), (Edge("A", -2.0, 2.0),)),),
    "ring of three": (
        Gene("A", 0.8, (1.0,), (Edge("C", -2.0, 1.0),)),
        Gene("B", 0.8, (0.0,), (Edge("A", 3.0, 1.0),)),
        Gene("C", 0.8, (0.0,), (Edge("B", 3.0, 1.0),)),
    ),
}


@pytest.mark.parametrize("name", CYCLES)
def test_cycles_and_self_loops_end_in_finite_time(name: str) -> None:
    began = time.process_time()
    model = build_model(Network(name, CYCLES[name]))
    assert model.settled
    assert np.isfinite(cells_of(model, ["KO:A"]).level).all()
    assert time.process_time() - began < 5


def test_an_oscillator_is_simulated_but_has_no_noise_free_answer() -> None:
    table = run(
        perturb,
        target="grn:repressilator",
        perturb=["KO:cI"],
        readout="lacI",
        layers="mrna+protein",
        cells=8,
        burn_in=6,
    )
    assert table.column("level", "KO:cI") > table.column("level", "baseline")
    with pytest.raises(NoSteadyStateError, match="leap or cle"):
        run(
            perturb,
            target="grn:repressilator",
            perturb=["KO:cI"],
            readout="lacI",
            layers="mrna+protein",
            physics="ode",
        )


def test_half_responses_cannot_be_derived_where_nothing_rests_or_nothing_is_made() -> None:
    silent = Network("s", (Gene("A", 1.0, (0.0,)), Gene("B", 1.0, (0.0,), (Edge("A", 1.0),))))
    with pytest.raises(BadNetworkError, match="'A' regulates but is never expressed"):
        build_model(silent)


BAD = {
    "gene 'A' is given twice": (Gene("A"), Gene("A")),
    "with opposite signs": (Gene("A"), Gene("B", edges=(Edge("A", 1.0), Edge("A", -1.0)))),
    "decay is 0": (Gene("A", decay=0.0),),
    "decay is nan": (Gene("A", decay=float("nan")),),
    "h of 'A' is -1": (Gene("A", edges=(Edge("A", 1.0, -1.0),)),),
    "regulator 'Q' is no gene": (Gene("A", edges=(Edge("Q", 1.0),)),),
    "2 basal rates for 1 cell types": (Gene("A", basal=(1.0, 2.0)),),
    "no space": (Gene("A B"),),
}


@pytest.mark.parametrize("message", BAD)
def test_a_contradictory_network_is_refused(message: str) -> None:
    with pytest.raises(BadNetworkError, match=message):
        Network("bad", BAD[message])


def test_a_rule_with_nine_inputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadNetworkError, match="9 inputs"):
        read_bnet("X, " + " & ".join(f"R{i}" for i in range(9)) + "\n", "f.bnet")


def test_file_faults_name_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "GRN.txt").write_text("1.0,1.0,0.0,3.0,2.0\n2.0,2.0,0.0,3.0\n")
    (tmp_path / "MRs.txt").write_text("0,0.5,0.7\n")
    with pytest.raises(BadNetworkError, match=r"GRN\.txt, line 2: 4 values for 2 regulators"):
        read_network(tmp_path / "GRN.txt", {})
    (tmp_path / "n.toml").write_text('[[gene]]\nname = "A"\ncolour = 3\n')
    with pytest.raises(BadNetworkError, match="colour"):
        read_network(tmp_path / "n.toml", {})
    with pytest.raises(TargetError, match="Did you mean 'toggle'"):
        load_network("togle")
    with pytest.raises(TargetError, match="no option 'gene'"):
        load_network("scalefree?gene=3")


def test_sergio_files_load_whole_with_types_signs_and_half_responses(tmp_path: Path) -> None:
    (tmp_path / "GRN.txt").write_text("1.0,1.0,0.0,3.0,2.0\n2.0,2.0,0.0,1.0,1.5,-2.5,2.0,2.0\n")
    (tmp_path / "MRs.txt").write_text("0,0.8,1.6\n")
    model = build_model(read_network(tmp_path / "GRN.txt", {}))
    assert model.network.names == ("G0", "G1", "G2")
    assert len(model.network.types) == 2
    assert model.wild_type[0] == pytest.approx([1.0, 2.0])
    assert {e.half for e in model.network.gene("G1").edges} == {1.5}
    assert model.network.gene("G2").edges[1].strength == -2.5


def test_a_files_fingerprint_follows_its_bytes_and_options(tmp_path: Path) -> None:
    file = tmp_path / "n.tsv"
    file.write_text("A\tB\t+\nB\tC\n")
    first, asked = fingerprint(str(file)), fingerprint(f"{file}?signs=random:0.5")
    assert first != asked
    file.write_text("A\tB\t+\nB\tC\t-\n")
    assert fingerprint(str(file)) not in (first, asked)
    assert load_network(str(file)).edges == (("A", "B", 1), ("B", "C", -1))


def test_unsafe_steps_are_refused_with_a_safe_one() -> None:
    common = {"target": "grn:ffl10", "perturb": ["KO:A"], "readout": "G", "cells": 64}
    with pytest.raises(UnsafeStepError, match=r"dt <= 0\.4"):
        run(perturb, dt=0.5, **common)
    with pytest.raises(UnsafeStepError, match="q is 1"):
        run(perturb, q=2.0, **common)
    with pytest.raises(UnsafeStepError, match="clamp at 0"):
        run(perturb, physics="cle", dt=0.1, **common)
    with pytest.raises(UnsafeStepError, match="not before burn_in"):
        run(perturb, start=50.0, burn_in=20.0, **common)


def test_a_job_that_would_not_fit_says_what_it_needs_before_it_starts() -> None:
    bench = Bench()
    with pytest.raises(TooLargeError, match="20000 conditions"):
        run(screen, bench=bench, target="grn:scalefree?genes=20000&seed=1", readout="G42", genes="all")
    with pytest.raises(TooLargeError, match=r"20000 genes .* GiB .* Lower cells"):
        run(
            perturb,
            bench=bench,
            target="grn:scalefree?genes=20000&seed=1",
            perturb=["KO:G0"],
            readout="G42",
            cells=2000,
        )
    assert not bench.ticks


def test_the_noise_free_map_counts_what_each_gene_moves() -> None:
    bench = Bench()
    table = run(effect_map, bench=bench, target="grn:ffl10")
    assert table.column("descendants", "KO:A") == pytest.approx(0.6)  # A, B, C, D, R, G
    assert table.column("out_degree", "KO:X") == 3
    assert {"effects.npz", "effects.png"} <= bench.files.keys()


def test_dot_and_gnw_files_of_the_reference_data_load_whole() -> None:
    dot = read_network(shared_data("sergio/GNW_sampled_GRNs/Ecoli_100_net1.dot"), {"signs": "random:0.56"})
    assert len(dot.genes) == 100
    gnw = read_network(shared_data("gnw_dream4/models/dream4/insilico_size100_1.xml"), {})
    gold = [
        tuple(row.split("\t")[:2])
        for row in shared_data("gnw_dream4/dream4_gold/DREAM4_GoldStandard_InSilico_Size100_1.tsv")
        .read_text()
        .splitlines()
        if row.endswith("1")
    ]
    assert {(a, b) for a, b, _ in gnw.edges} == set(gold)
