"""Parity with SERGIO's scheme on its own first data set, against an independent implementation (sergio-rs 0.2.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agentkit_gene.simulation.engine import Plan, simulate
from agentkit_gene.simulation.model import Model, build_model
from agentkit_gene.simulation.readers import read_network
from tests.gene.kit import shared_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

DS1 = "sergio/data_sets/De-noised_100G_9T_300cPerT_4_DS1"
MASTER_RATE, TYPES, CELLS, SEEDS = 0.6, 9, 300, 8
DT, BURN_IN = 0.01, 20.0


def ds1() -> Model:
    """DS1's edges, strengths and Hill numbers; one rate for all masters, because the peer draws its own otherwise."""
    network = read_network(shared_data(DS1) / "Interaction_cID_4.txt", {"regulators": "Regs_cID_4.txt"})
    genes = tuple(replace(g, basal=(0.0 if g.edges else MASTER_RATE,) * TYPES) for g in network.genes)
    return build_model(replace(network, genes=genes, types=tuple(f"t{i}" for i in range(TYPES))))


def peer_trajectories(model: Model, seed: int) -> NDArray[np.float64]:
    """(genes, trajectories, cells) of sergio-rs with our half responses; a type is one trajectory."""
    sergio_rs = pytest.importorskip("sergio_rs", reason="sergio-rs (oracle, GPL-3) is not installed")
    grn = sergio_rs.GRN()
    names = [g.name for g in model.network.genes]
    genes = {g.name: sergio_rs.Gene(g.name, g.decay) for g in model.network.genes}
    for gene in model.network.genes:
        for e in gene.edges:
            grn.add_interaction(genes[e.regulator], genes[gene.name], e.strength, e.half, int(e.hill))
    grn.set_mrs()
    narrow = [(MASTER_RATE + k * 1e-9, MASTER_RATE + (k + 1) * 1e-9) for k in (0, 2)]
    rates = sergio_rs.MrProfile.from_random(grn, TYPES, *narrow, 1)
    frame = sergio_rs.Sim(grn, CELLS, round(BURN_IN / DT), 15, DT, 1, seed).simulate(rates)
    rows = {str(r[0]): r[1:] for r in frame.rows()}
    return np.array([rows[n] for n in names], dtype=float).reshape(len(names), TYPES, CELLS)


@pytest.mark.slow  # 15 s of simulation on both sides
def test_means_and_variances_of_ds1_agree_with_an_independent_implementation() -> None:
    model = ds1()
    assert len(model.network.genes) == 100 and sum(len(g.edges) for g in model.network.genes) == 258
    theirs = np.concatenate([peer_trajectories(model, 100 + s) for s in range(SEEDS)], axis=1)
    program = model.program([])
    plan = Plan("cle", DT, BURN_IN, 256, tuple(range(TYPES)), euler=True)  # the scheme of sergio_compat
    ours = simulate(model, program, plan, 5).level[program.baseline_rows()].astype(float)
    ours = ours.reshape(len(ours), -1)
    mean = ours.mean(axis=1)
    squares = (ours - mean[:, None]) ** 2
    for name, own, peer in (
        ("mean", ours, theirs.mean(axis=2)),
        ("variance", squares, ((theirs - mean[:, None, None]) ** 2).mean(axis=2)),
    ):
        spread = peer.var(axis=1, ddof=1) / peer.shape[1] + own.var(axis=1) / own.shape[1]
        z = (own.mean(axis=1) - peer.mean(axis=1)) / np.sqrt(spread)
        # Genes share seven masters, so their z are no independent sample: a bias is judged by trajectory instead.
        off = ((peer - own.mean(axis=1)[:, None]) / peer.std(axis=1, ddof=1)[:, None]).mean(axis=0)
        assert abs(off.mean()) < 3 * off.std(ddof=1) / np.sqrt(len(off)), name
        assert 0.8 < z.std() < 1.3 and np.abs(z).max() < 4.5, name
