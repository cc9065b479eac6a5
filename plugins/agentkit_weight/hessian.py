"""Curvature without the Hessian: products, Lanczos with its residual, traces with their interval."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor


class Hessian:
    """Products with the Hessian of a loss in some matrices; the graph is built once and used for all of them.

    Args:
        loss: the loss as a function of the matrices by name; twice differentiable (no fused attention).
        point: where; its tensors are read.
    """

    def __init__(self, loss: Callable[[Mapping[str, Tensor]], Tensor], point: Mapping[str, Tensor]) -> None:
        self._leaves = {name: w.detach().clone().requires_grad_(True) for name, w in point.items()}
        with torch.enable_grad():
            self.loss = loss(self._leaves)
            self._gradients = torch.autograd.grad(self.loss, list(self._leaves.values()), create_graph=True)
        self.gradient = _flat(self._gradients).detach()

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.gradient.numel()

    def __call__(self, vector: Tensor) -> Tensor:
        """H v, flat, in the order of the point's names."""
        parts = self.split(vector.to(self.gradient.device)).values()
        products = torch.autograd.grad(
            self._gradients,
            list(self._leaves.values()),
            list(parts),
            retain_graph=True,
            materialize_grads=True,
        )
        return _flat(products)

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """A flat vector as matrices by name."""
        sizes = [w.numel() for w in self._leaves.values()]
        pieces = torch.split(vector, sizes)
        return {n: p.view(w.shape) for (n, w), p in zip(self._leaves.items(), pieces, strict=True)}


class Eigenvalue(NamedTuple):
    """The largest eigenvalue, how far its vector is from being one, and the products it took."""

    value: float
    residual: float
    steps: int


def lanczos(
    product: Callable[[Tensor], Tensor], start: Tensor, steps: int, tolerance: float = 1e-3
) -> Eigenvalue:
    """Largest eigenvalue of a symmetric operator by Lanczos with full reorthogonalisation.

    Stops when the residual ||H x - lambda x|| is below `tolerance` * |lambda| (the eigenvalue's own error is
    then of the order of its square) or after `steps` products.

    Args:
        product: v -> H v, flat.
        start: random start vector; its dtype is that of the work.
        steps: most products.
        tolerance: relative residual.
    """
    basis = [start / start.norm()]
    alphas: list[float] = []
    betas: list[float] = []
    for _ in range(min(steps, start.numel())):
        image = product(basis[-1])
        alphas.append(float(image @ basis[-1]))
        for _ in range(2):  # once is not enough in float32
            for vector in basis:
                image = image - (image @ vector) * vector
        beta = float(image.norm())
        value, weight = _top_ritz(alphas, betas)
        residual = beta * abs(weight)
        if residual <= tolerance * abs(value) or beta < 1e-12:
            break
        betas.append(beta)
        basis.append(image / beta)
    return Eigenvalue(value, residual, len(alphas))


class Trace(NamedTuple):
    """A Hutchinson estimate with its 95 % interval."""

    value: float
    low: float
    high: float
    probes: int


def hutchinson(
    product: Callable[[Tensor], Tensor],
    size: int,
    probes: int,
    generator: torch.Generator,
    dtype: torch.dtype,
) -> Trace:
    """tr(H) = E v' H v over v = +-1, with Student's interval over the probes."""
    draws = []
    for _ in range(probes):
        vector = rademacher(size, generator, dtype)
        image = product(vector)
        draws.append(float(vector.to(image.device) @ image))
    return interval(draws)


def interval(draws: list[float]) -> Trace:
    """Mean of the draws and its 95 % Student interval."""
    from scipy import stats

    n = len(draws)
    mean = math.fsum(draws) / n
    spread = math.sqrt(math.fsum((d - mean) ** 2 for d in draws) / (n - 1) / n)
    half = float(stats.t.ppf(0.975, n - 1)) * spread
    return Trace(mean, mean - half, mean + half, n)


def rademacher(size: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """A vector of +-1."""
    bits = torch.randint(0, 2, (size,), generator=generator)
    return bits.to(dtype).mul_(2).sub_(1)


def _top_ritz(alphas: list[float], betas: list[float]) -> tuple[float, float]:
    """Largest eigenvalue of the tridiagonal matrix, and the last entry of its eigenvector."""
    matrix = torch.diag(torch.tensor(alphas, dtype=torch.float64))
    if betas:
        off = torch.diag(torch.tensor(betas, dtype=torch.float64), 1)
        matrix = matrix + off + off.T
    values, vectors = torch.linalg.eigh(matrix)
    return float(values[-1]), float(vectors[-1, -1])


def _flat(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])
