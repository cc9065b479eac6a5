"""The linear noise approximation: stationary covariance around the deterministic steady state.

Solves J C + C J' + D = 0 by doubling, C = int_0^inf e^(Jt) D e^(J't) dt. Chains of equal decay make J defective,
so no eigenvectors are used. van Kampen 2007; Van Loan 1978.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agentkit_gene.simulation.errors import NoSteadyStateError, TooLargeError
from agentkit_gene.simulation.model import SPLICE_RATIO, SPLICED, Model
from agentkit_gene.simulation.steady import Deterministic, full_jacobian

if TYPE_CHECKING:
    from agentkit_gene.simulation.program import Floats, Program

MAX_SPECIES = 1500
"""Beyond this the matrix exponential of twice the size takes minutes and gigabytes."""


def lyapunov(jacobian: Tensor, diffusion: Tensor) -> Tensor:
    """C with J C + C J' + D = 0.

    Raises:
        NoSteadyStateError: J has an eigenvalue with real part >= 0.
    """
    largest = float(torch.linalg.eigvals(jacobian).real.max())
    if largest >= 0:
        raise NoSteadyStateError(
            f"lna: the steady state is not stable (largest Re eig {largest:.3g}); use cle or leap"
        )
    n = len(jacobian)
    tau = 0.5 / float(torch.linalg.matrix_norm(jacobian, 2))
    block = torch.zeros((2 * n, 2 * n), dtype=jacobian.dtype)
    block[:n, :n], block[:n, n:], block[n:, n:] = -jacobian, diffusion, jacobian.T
    flow = torch.linalg.matrix_exp(block * tau)
    step: Tensor = flow[n:, n:].T.contiguous()  # e^(J tau)
    covariance: Tensor = step @ flow[:n, n:]
    for _ in range(200):
        covariance = covariance + step @ covariance @ step.T
        step = step @ step
        if float(step.abs().max()) < 1e-18:
            break
    return (covariance + covariance.T) / 2


def diffusion(made: Tensor, lost: Tensor, q: float, form: str) -> Tensor:
    """Noise strength of each species: q^2 V, V as in the Langevin kernel."""
    v = {"dpd": made + lost, "sp": made, "spd": (made.sqrt() + lost.sqrt()) ** 2}[form]
    return q * q * v


def variances(model: Model, program: Program, level: Floats, *, q: float, form: str) -> Floats:
    """Stationary variance of the transcript level of every row, (rows, types).

    `program` must hold every gene in every condition: the noise of unperturbed regulators is passed on too.

    Raises:
        NoSteadyStateError: some condition is not stable. TooLargeError: too many species.
    """
    n_species = program.n_genes * (1 if model.layers == "mrna" else 2)
    if n_species > MAX_SPECIES:
        raise TooLargeError(
            f"lna on {n_species} species; at most {MAX_SPECIES}. Use leap, which is cheaper there"
        )
    equations = model.deterministic(program)
    x = torch.as_tensor(level, dtype=torch.float64)
    rows = [sorted(r.values()) for r in program.row_of]
    found = torch.zeros_like(x)
    for c, t, production in equations.production_jacobian(equations.protein_at_rest(x)):
        own = rows[c]
        found[own, t] = torch.diagonal(_covariance(model, equations, x, production, own, t, q, form))[
            : len(own)
        ]
    return found.numpy()


def _covariance(
    model: Model,
    eq: Deterministic,
    x: Tensor,
    production: Tensor,
    own: list[int],
    t: int,
    q: float,
    form: str,
) -> Tensor:
    """Covariance of one condition's free species; clamped genes have none."""
    lost = eq.decay[own, 0] * x[own, t]
    made = torch.where(eq._free[own, 0], lost, torch.zeros_like(lost))
    noise = diffusion(made, made, q, form)
    if not eq.layered and model.layers != SPLICED:
        return lyapunov(production - torch.diag(eq.decay[own, 0]), torch.diag(noise))
    if model.layers == SPLICED:
        return _spliced(eq, production, noise, made, own, q, form)
    passed = eq._made[own, 0] * x[own, t]
    matrix = full_jacobian(eq, production, own)
    return lyapunov(matrix, torch.diag(torch.cat([noise, diffusion(passed, passed, q, form)])))


def _spliced(
    eq: Deterministic, production: Tensor, noise: Tensor, made: Tensor, own: list[int], q: float, form: str
) -> Tensor:
    """Spliced transcripts first (they are what is read), then unspliced."""
    decay = torch.diag(eq.decay[own, 0])
    zero = torch.zeros_like(decay)
    top = torch.cat([-decay / SPLICE_RATIO, decay], dim=1)
    bottom = torch.cat([zero, production - decay], dim=1)
    spread = torch.cat([diffusion(made, made, q, form), noise])
    return lyapunov(torch.cat([top, bottom]), torch.diag(spread))
