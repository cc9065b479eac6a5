"""One training step of each method: where the weights are perturbed while the adapter learns.

Every method sees the same state and returns the loss; gradients end up in the factors' `.grad`. A method of
strength zero is never built: `make_method` gives the plain step, so that no bit can differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from agentkit_weight.branches import Branch, Dense, LowRank
from agentkit_weight.sites import weight_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from agentkit_weight.adapters import Adapter, Factors
    from agentkit_weight.params import Asam, Awp, Ggpo, Mgpo, Sam

_TINY = 1e-12


def _no_pass(noise: object, offset: object = None) -> Tensor:
    raise AssertionError("the loop sets a step's own pass")


@dataclass
class StepState:
    """What a method may use in a step.

    Attributes:
        adapter: the factors that learn.
        sites: the adapted layers by name.
        optimizer: AdamW over factors and head; its first moments are read by MGPO.
        generator: the unit's stream for perturbations; draws are made on the CPU, so they are the same on every device.
        epoch: current epoch, from 0.
        pass_: `pass_(noise, offset) -> loss` runs forward and backward with the adapter, extra branches and an
            offset of the factors, and adds to the gradients.
        radius: size of the last perturbation (Frobenius norm over all sites), for the curve.
    """

    adapter: Adapter
    sites: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    pass_: Callable[..., Tensor] = _no_pass
    epoch: int = 0
    radius: float = 0.0

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=True)


class Method(Protocol):
    """A way to take one step."""

    passes: int

    def step(self, state: StepState) -> Tensor:
        """Loss of the batch; the gradients to apply are in `.grad`."""


class Plain:
    """LoRA itself: one forward, one backward."""

    passes = 1

    def step(self, state: StepState) -> Tensor:
        """The loss at the weights."""
        state.zero_grad()
        return state.pass_({})


class RowNorms:
    """Row norms of W0 + s B A without forming it: ||W0_i||^2 is kept, the rest costs m n r and r^2 (m + n)."""

    def __init__(self) -> None:
        self._squares: dict[str, Tensor] = {}

    def of(self, name: str, site: nn.Module, adapter: Adapter) -> Tensor:
        """Norm of every row, (m,)."""
        weight = weight_of(site).detach().float()
        if name not in self._squares:
            self._squares[name] = weight.square().sum(1)
        a, b = adapter.factors[name]
        cross = ((weight @ a.T) * b).sum(1)
        own = ((b @ (a @ a.T)) * b).sum(1)
        squares = self._squares[name] + 2 * adapter.scale * cross + adapter.scale**2 * own
        return squares.clamp_min(0).sqrt()


class GgpoStep:
    """Fresh noise scaled by row norms of weight and gradient (arXiv 2502.14538).

    E_ij = n_ij (sigma ||W_i|| + beta ||g_i||^2) / sqrt(m). With `noise_rank` k the entries n = U V / sqrt(k)
    of +-1 factors have variance 1 too and cost k (m + n) numbers; 0 draws m n normals.
    """

    passes = 1

    def __init__(self, params: Ggpo) -> None:
        self.params = params
        self._norms = RowNorms()

    def step(self, state: StepState) -> Tensor:
        """The loss at noisy weights."""
        noise = self._noise(state)
        state.zero_grad()
        return state.pass_(noise)

    @torch.no_grad()
    def _noise(self, state: StepState) -> dict[str, Branch]:
        noise: dict[str, Branch] = {}
        total = 0.0
        for name, site in state.sites.items():
            m, n = weight_of(site).shape
            a, b = state.adapter.factors[name]
            rows = self.params.sigma * self._norms.of(name, site, state.adapter)
            if a.grad is not None and self.params.beta:
                rows = rows + self.params.beta * tangent(state.adapter, name, a.grad, b.grad).row_norms() ** 2
            rows = rows / m**0.5
            if k := self.params.noise_rank:
                signs = _signs(k * (m + n), state.generator).to(rows.device)
                left = signs[: k * m].view(m, k) * (rows / k**0.5)[:, None]
                noise[name] = LowRank(left, signs[k * m :].view(k, n))
            else:
                normal = torch.randn(m, n, generator=state.generator).to(rows.device)
                noise[name] = Dense(normal.mul_(rows[:, None]))
            total += n * float(rows.square().sum())
        state.radius = total**0.5
        return noise


class MgpoStep:
    """A perturbation along the momentum of s B A (LoRA-MGPO, Findings of EMNLP 2025).

    E = sign rho min(cap, 1 / gbar) v / ||v||_F with v = s (M_B A + B M_A), M Adam's first moments and gbar a moving
    average of the gradient's norm. Published sign -1 looks ahead along the descent. None before M exists.
    The true radius is up to cap x rho; it is what the curve shows.
    """

    passes = 1

    def __init__(self, params: Mgpo) -> None:
        self.params = params
        self._average: dict[str, Tensor] = {}

    def step(self, state: StepState) -> Tensor:
        """The loss at the perturbed weights; then the averages take the new gradient in."""
        noise = self._noise(state)
        state.zero_grad()
        loss = state.pass_(noise)
        self._remember(state)
        return loss

    @torch.no_grad()
    def _noise(self, state: StepState) -> dict[str, Branch]:
        if not self._average or not self.params.rho:
            return {}
        noise: dict[str, Branch] = {}
        sizes = []
        for name in state.sites:
            a, b = state.adapter.factors[name]
            moment_a, moment_b = state.optimizer.state[a]["exp_avg"], state.optimizer.state[b]["exp_avg"]
            direction = tangent(state.adapter, name, moment_a, moment_b)
            size = self.params.rho * torch.clamp(1 / (self._average[name] + _TINY), max=self.params.cap)
            sizes.append(size)
            noise[name] = direction.scaled(self.params.sign * size / (direction.frobenius() + _TINY))
        state.radius = float(torch.stack(sizes).square().sum().sqrt())
        return noise

    @torch.no_grad()
    def _remember(self, state: StepState) -> None:
        for name in state.sites:
            a, b = state.adapter.factors[name]
            norm = tangent(state.adapter, name, a.grad, b.grad).frobenius()
            old = self._average.get(name)
            beta = self.params.beta
            self._average[name] = norm if old is None else beta * old + (1 - beta) * norm


class SamStep:
    """SAM (Foret et al. 2021) and ASAM (Kwon et al. 2021) over the adapter's factors.

    e = rho g / ||g||; ASAM: T = |w| + eta, e = rho T^2 g / ||T g||. The factors are not written: w + e are
    new tensors that stand in their place for the second pass.
    """

    passes = 2

    def __init__(self, rho: float, eta: float | None = None) -> None:
        self.rho, self.eta = rho, eta

    def step(self, state: StepState) -> Tensor:
        """The loss at the weights; the gradient left behind is that at w + e."""
        state.zero_grad()
        loss = state.pass_({})
        offset = self._offset(state)
        state.zero_grad()
        state.pass_({}, offset)
        return loss

    @torch.no_grad()
    def _offset(self, state: StepState) -> Factors:
        factors = state.adapter.parameters()
        gradients = [f.grad if f.grad is not None else torch.zeros_like(f) for f in factors]
        sizes = [torch.ones_like(f) if self.eta is None else f.abs() + self.eta for f in factors]
        scaled = [t * g for t, g in zip(sizes, gradients, strict=True)]
        norm = torch.stack([s.square().sum() for s in scaled]).sum().sqrt()
        steps = [self.rho / (norm + _TINY) * t * s for t, s in zip(sizes, scaled, strict=True)]
        state.radius = float(torch.stack([s.square().sum() for s in steps]).sum().sqrt())
        names = list(state.adapter.factors)
        return {name: (steps[2 * i], steps[2 * i + 1]) for i, name in enumerate(names)}


class AwpLoraStep:
    """Adversarial weight perturbation inside the adapter's tangent space (after Wu et al. 2020).

    The ascent direction is s (B dA + dB A) from a first backward, scaled per matrix to gamma ||W0 + s B A||_F. The
    published AWP ascends in the full weight space of a proxy; this one has rank 2 r, hence its own name.
    """

    passes = 2

    def __init__(self, params: Awp) -> None:
        self.params = params
        self._norms = RowNorms()

    def step(self, state: StepState) -> Tensor:
        """The loss at the weights; the gradient left behind is that at the perturbed ones."""
        state.zero_grad()
        loss = state.pass_({})
        if state.epoch < self.params.warm_up:
            return loss
        noise = self._noise(state)
        state.zero_grad()
        state.pass_(noise)
        return loss

    @torch.no_grad()
    def _noise(self, state: StepState) -> dict[str, Branch]:
        noise: dict[str, Branch] = {}
        total = 0.0
        for name, site in state.sites.items():
            a, b = state.adapter.factors[name]
            direction = tangent(state.adapter, name, a.grad, b.grad)
            size = self.params.gamma * self._norms.of(name, site, state.adapter).norm()
            noise[name] = direction.scaled(size / (direction.frobenius() + _TINY))
            total += float(size) ** 2
        state.radius = total**0.5
        return noise


def tangent(adapter: Adapter, name: str, d_a: Tensor | None, d_b: Tensor | None) -> LowRank:
    """S (B dA + dB A) as a branch of rank 2 r: how s B A moves when A and B move by dA and dB."""
    a, b = (factor.detach() for factor in adapter.factors[name])
    d_a = torch.zeros_like(a) if d_a is None else d_a
    d_b = torch.zeros_like(b) if d_b is None else d_b
    return LowRank(torch.cat([b, d_b], 1), torch.cat([d_a, a]), adapter.scale)


def make_method(name: str, ggpo: Ggpo, mgpo: Mgpo, sam: Sam, asam: Asam, awp: Awp) -> Method:
    """The step of a method; the plain one where its strength is zero."""
    if name == "ggpo" and (ggpo.sigma or ggpo.beta):
        return GgpoStep(ggpo)
    if name == "mgpo" and mgpo.rho:
        return MgpoStep(mgpo)
    if name == "sam" and sam.rho:
        return SamStep(sam.rho)
    if name == "asam" and asam.rho:
        return SamStep(asam.rho, asam.eta)
    if name == "awp_lora" and awp.gamma:
        return AwpLoraStep(awp)
    return Plain()


def _signs(count: int, generator: torch.Generator) -> Tensor:
    bits = torch.randint(0, 2, (count,), generator=generator)
    return bits.float().mul_(2).sub_(1)
