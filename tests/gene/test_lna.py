"""The linear noise approximation against exact equations and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agentkit_gene.simulation.errors import NoSteadyStateError
from agentkit_gene.simulation.lna import lyapunov
from agentkit_gene.simulation.model import build_model
from agentkit_gene.simulation.moments import moments_of
from agentkit_gene.simulation.network import Edge, Gene, Network
from tests.gene.kit import cells_of

CHAIN = Network(
    "chain",
    (
        Gene("A", 1.0, (400.0,)),
        Gene("B", 1.0, (0.0,), (Edge("A", 800.0),)),
        Gene("C", 1.0, (0.0,), (Edge("B", 800.0),)),
    ),
)
LOOP = Network(
    "loop",
    (
        Gene("A", 1.0, (100.0,), (Edge("C", -600.0, 400.0),)),
        Gene("B", 0.8, (0.0,), (Edge("A", 800.0, 400.0),)),
        Gene("C", 1.2, (0.0,), (Edge("B", 800.0, 400.0),)),
    ),
)


def test_the_lyapunov_equation_is_solved_on_a_defective_matrix() -> None:
    jacobian = torch.tensor([[-1.0, 0, 0], [0.7, -1, 0], [0, -2.0, -1]], dtype=torch.float64)
    noise = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    c = lyapunov(jacobian, noise)
    assert float((jacobian @ c + c @ jacobian.T + noise).abs().max()) < 1e-10
    with pytest.raises(NoSteadyStateError, match="not stable"):
        lyapunov(torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("network", [CHAIN, LOOP], ids=["chain", "negative loop"])
@pytest.mark.parametrize("form", ["dpd", "sp", "spd"])
def test_moments_agree_with_simulation_at_high_rate(network: Network, form: str) -> None:
    model = build_model(network)
    found = moments_of(model, [], lna=True, form=form)["baseline"]
    assert found.variance is not None
    cells = cells_of(model, kernel="cle", dt=0.05, cells=12_800, form=form).level[:, 0].astype(np.float64)
    order = model.program([]).gene
    assert cells.mean(axis=1) == pytest.approx(found.mean[order, 0], rel=0.01)
    assert cells.var(axis=1) == pytest.approx(found.variance[order, 0], rel=0.05)


def test_noise_of_an_unperturbed_regulator_reaches_a_perturbed_gene() -> None:
    model = build_model(CHAIN)
    from agentkit_gene.simulation.perturbation import parse_perturbation

    found = moments_of(
        model, [parse_perturbation("DRUG:B>C@K*1.0"), parse_perturbation("CUT:B>C@0.5")], lna=True
    )
    assert np.array_equal(found["DRUG:B>C@K*1"].variance, found["baseline"].variance)
    assert found["CUT:B>C@0.5"].variance[2, 0] > found["CUT:B>C@0.5"].mean[2, 0]  # more than Poisson
