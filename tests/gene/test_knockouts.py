"""What a perturbation means, on kinetics that stay frozen."""

from __future__ import annotations

import numpy as np
import pytest

from agentkit_gene.simulation.errors import BadPerturbationError, UnknownEdgeError, UnknownGeneError
from agentkit_gene.simulation.model import build_model
from agentkit_gene.simulation.moments import moments_of
from agentkit_gene.simulation.perturbation import effect_of, parse_perturbation
from agentkit_gene.simulation.readers import network_of_edges
from tests.gene.kit import activated_and_repressed, cells_of, shipped


def levels(*perturbations: str) -> dict[str, dict[str, float]]:
    model = build_model(activated_and_repressed())
    found = moments_of(model, [parse_perturbation(p) for p in perturbations], lna=False)
    return {c: dict(zip(model.network.names, m.mean[:, 0], strict=True)) for c, m in found.items()}


def test_a_knockout_silences_what_it_activates_and_frees_what_it_represses() -> None:
    ko = levels("KO:A")["KO:A"]
    assert ko["A"] == 0
    assert ko["B"] == 0
    assert ko["E"] == pytest.approx(2.5, abs=1e-8)  # |K| / decay


def test_double_knockout_cut_and_constant_overexpression_are_exact() -> None:
    found = levels("KO:A+KO:B", "CUT:A>B", "CUT:A>E", "OE:Z@+4", "KO:E+KO:A", "CLAMP:A@2.5", "OE:A@2")
    assert found["KO:A+KO:B"]["B"] == 0
    assert found["CUT:A>B"]["B"] == 0
    assert found["CUT:A>B"]["E"] == found["baseline"]["E"]
    assert found["CUT:A>E"]["E"] == pytest.approx(2.5, abs=1e-8)  # the constitutive |K| stays
    assert found["OE:Z@+4"]["Z"] == pytest.approx(5.0, abs=1e-8)
    assert found["KO:A+KO:E"]["E"] == 0
    assert found["CLAMP:A@2.5"]["B"] == pytest.approx(3 / 0.8 / 2, abs=1e-8)  # at half response
    h = 2.5
    assert found["OE:A@2"]["B"] == pytest.approx(3 / 0.8 * 25 / (h * h + 25), abs=1e-8)


def test_half_responses_stay_those_of_the_wild_type() -> None:
    """At the wild type every regulator of a single-type network sits at its half response."""
    found = levels("OE:A@2", "DRUG:A>B@h*2")
    assert found["baseline"]["B"] == pytest.approx(1.875, abs=1e-12)
    assert found["DRUG:A>B@h*2"]["B"] == pytest.approx(3 / 0.8 / 5, abs=1e-8)  # 1 / (1 + 2^2)
    assert levels("DRUG:A>B@K*0.5")["DRUG:A>B@K*0.5"]["B"] == pytest.approx(1.875 / 2, abs=1e-12)


def test_simulated_knockouts_agree_with_the_exact_answer() -> None:
    model = build_model(activated_and_repressed())
    cells = cells_of(model, ["KO:A"], cells=12_800)
    program = model.program(model.effects([parse_perturbation("KO:A")]))
    of = {model.network.names[g]: cells.level[r, 0] for g, r in program.row_of[1].items()}
    assert set(of) == {"A", "B", "E"}
    assert (of["A"] == 0).all()
    assert (of["B"] == 0).all()
    assert of["E"].mean() == pytest.approx(2.5, abs=4 * np.sqrt(2.5 / 12_800))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("KO:A@1", "KO:A"),
        ("KO:B+KO:A", "KO:A+KO:B"),
        ("A+B", "KO:A+KO:B"),
        ("A+ctrl", "KO:A"),
        ("KD:A@0.70", "KD:A@0.7"),
        ("KD:A@0.7~0.8", "KD:A@0.7~0.8"),
        ("OE:A@+5", "OE:A@+5"),
        ("OE:A@+5+KO:B", "OE:A@+5+KO:B"),
        ("CUT:A>B@1.0", "CUT:A>B"),
        ("DRUG:A>B@K*0.5", "DRUG:A>B@K*0.5"),
        ("ctrl", "baseline"),
        ("non-targeting", "baseline"),
    ],
)
def test_every_spelling_has_one_canonical_name_that_reads_back(text: str, name: str) -> None:
    assert parse_perturbation(text).name == name
    assert parse_perturbation(name) == parse_perturbation(text)


@pytest.mark.parametrize(
    "text",
    ["KO:A@1.5", "KD:A", "KD:A@-0.1", "KD:A@0.5~0", "OE:A@0.5", "OE:A@101", "OE:A", "CLAMP:A", "CLAMP:A@-1",
     "CUT:A@0.5", "CUT:A>B@2", "DRUG:A>B", "DRUG:A>B@K*0", "DRUG:A>B@q*2", "KO:A>B", "XX:A", "KO:A@x"],
)  # fmt: skip
def test_an_unreadable_or_out_of_range_perturbation_is_refused(text: str) -> None:
    with pytest.raises(BadPerturbationError, match="perturbation"):
        parse_perturbation(text)


def test_sites_that_do_not_exist_are_refused_with_what_does() -> None:
    network = shipped("ffl10").network
    with pytest.raises(UnknownGeneError, match="no gene 'Q'"):
        effect_of(parse_perturbation("KO:Q"), network)
    with pytest.raises(UnknownEdgeError, match="A regulates B"):
        effect_of(parse_perturbation("CUT:A>D"), network)


def test_a_fold_on_a_silent_gene_is_refused_and_a_rate_is_offered() -> None:
    model = build_model(activated_and_repressed())
    with pytest.raises(BadPerturbationError, match=r"OE:Z@\+5"):
        model.effects([parse_perturbation("OE:Z@3")])


def test_the_strength_of_a_rule_cannot_be_drugged() -> None:
    with pytest.raises(BadPerturbationError, match="no K"):
        effect_of(parse_perturbation("DRUG:CycB>Cdc20@K*2"), shipped("cellcycle").network)


def test_cut_edges_of_a_rule_read_as_absent_regulators() -> None:
    model = shipped("cellcycle")
    found = moments_of(
        model, [parse_perturbation(p) for p in ("CLAMP:CycB@40", "CLAMP:CycB@40+CUT:CycB>Cdc20")], lna=False
    )
    at = model.network.index["Cdc20"]
    assert found["CLAMP:CycB@40"].mean[at, 0] > 30
    assert found["CLAMP:CycB@40+CUT:CycB>Cdc20"].mean[at, 0] < 1e-6


def test_perturbations_that_begin_late_find_the_wild_type_until_then() -> None:
    model = build_model(activated_and_repressed())
    settings = {"cells": 6400, "burn_in": 20.0}
    early, late = (cells_of(model, ["KO:A"], start=s, **settings) for s in (0.0, 19.0))
    program = model.program(model.effects([parse_perturbation("KO:A")]))
    row = program.row_of[1][model.network.index["A"]]
    assert early.level[row].mean() == 0
    assert late.level[row].mean() == pytest.approx(2.5 * np.exp(-0.8), rel=0.05)


def test_an_oscillating_edge_list_or_an_unsigned_one_is_named_for_what_it_is() -> None:
    from agentkit_gene.simulation.errors import BadNetworkError, UnsignedNetworkError

    with pytest.raises(UnsignedNetworkError, match=r"line 2.*random:0.56"):
        network_of_edges(iter([(1, "a", "b", "+"), (2, "b", "c", "")]), "f.tsv", None)
    with pytest.raises(BadNetworkError, match="opposite sign on line 1"):
        network_of_edges(iter([(1, "a", "b", "+"), (2, "a", "b", "-")]), "f.tsv", None)
    drawn = network_of_edges(iter([(1, "a", "b", ""), (2, "b", "c", "")]), "f.tsv", "random:0.56")
    assert "random:0.56" in drawn.kinetics
