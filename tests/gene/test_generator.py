"""Generated networks have the shape they promise, and one seed is one network."""

from __future__ import annotations

import hashlib

import numpy as np

from agentkit_gene.simulation.generator import ACTIVATORS, IN_DEGREE, scale_free
from agentkit_gene.simulation.model import build_model
from agentkit_gene.simulation.target import fingerprint
from agentkit_gene.simulation.toml_format import to_toml


def test_in_degrees_and_signs_have_the_shares_of_the_bacterium_over_fifty_seeds() -> None:
    degree, signs = np.zeros(9), []
    for seed in range(50):
        network = scale_free(300, seed, types=1)
        for gene in network.genes:
            if gene.edges and network.index[gene.name] >= 33:  # regulators have fewer to choose from
                degree[len(gene.edges)] += 1
            signs += [e.strength > 0 for e in gene.edges]
    assert np.abs(degree[1:] / degree.sum() - IN_DEGREE).max() < 0.03
    assert abs(np.mean(signs) - ACTIVATORS) < 0.03


def test_one_seed_is_one_file_for_good() -> None:
    text = to_toml(scale_free(100, 3))
    assert text == to_toml(scale_free(100, 3))
    assert text != to_toml(scale_free(100, 4))
    assert (
        hashlib.sha256(text.encode()).hexdigest()
        == "b0c7589bf6f7388b2a0955c459c1416d37ec69375fba93fe0761481d8f511479"
    )
    assert fingerprint("scalefree?genes=100&seed=3") == fingerprint("scalefree?seed=3&genes=100")


def test_hubs_grow_and_the_default_has_no_cycle() -> None:
    network = scale_free(400, 1)
    out = sorted((len(t) for t in network.targets.values()), reverse=True)
    assert out[0] > 3 * np.mean([o for o in out if o])
    assert not network.cyclic
    assert build_model(network).settled


def test_loops_come_only_when_asked_for_and_leave_other_kinetics_alone() -> None:
    looped = scale_free(60, 1, types=2, self_loops=0.2, cycles=3)
    plain = build_model(scale_free(60, 1, types=2)).network
    assert looped.cyclic
    assert sum(a == b for a, b, _ in looped.edges) > 0
    for a, b in zip(plain.genes, looped.genes, strict=True):
        assert b.edges[: len(a.edges)] == a.edges
