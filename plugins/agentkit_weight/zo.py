"""Zeroth-order probes: the slope of an objective along a +-1 low-rank direction, without writing a weight.

SPSA (Spall 1992; Malladi et al. 2023, "MeZO"): g = (L(W + eps Z) - L(W - eps Z)) / (2 eps). The direction is
a branch at the target layers, so both sides read the same weights. `jvp` takes the exact derivative along
Z by forward-mode differentiation instead: no eps, no cancellation, about 1.5 times the cost.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from agentkit.errors import ParamError
from agentkit_weight import bytecode
from agentkit_weight.errors import DegenerateLossError, NonFiniteLossError, PrecisionError
from agentkit_weight.replica import Record, Replica, ZoSpec, digest_of, shapes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from agentkit_weight.branches import Branch

MAX_EPS = 2**-3
_ZERO_LOSSES = 10
_SKIPPED_SHARE = 0.05


class Objective(Protocol):
    """What a zeroth-order run minimises."""

    def matrices(self) -> dict[str, Tensor]:
        """The user's target matrices by name; read, never written."""

    def bind(self, weights: Mapping[str, Tensor]) -> None:
        """Evaluate with these matrices from now on."""

    def value(self, step: int, worker: int, branches: Mapping[str, Branch]) -> tuple[Tensor, int]:
        """Objective on the batch of this step and worker with the branches added, and the batch size."""


class Probe(NamedTuple):
    """One answer of a worker."""

    record: Record
    loss: float
    n: int


def make_spec(
    objective: Objective,
    *,
    run_seed: int,
    steps: int,
    workers: int = 1,
    probes: int = 1,
    rank: int = 1,
    eps: float = 2**-10,
    lr: float = 1e-3,
    sides: int = 2,
    estimator: str = "spsa",
) -> ZoSpec:
    """The spec of a run on this objective's base matrices.

    Raises:
        ParamError: eps is not in (0, 2^-3], or the rank exceeds the smaller side of a matrix.
        PrecisionError: eps is below half a unit in the last place of a half-precision base, so the
            published in-place algorithm would change nothing there.
    """
    matrices = objective.matrices()
    if not 0 < eps <= MAX_EPS:
        raise ParamError(f"eps {eps} is outside (0, {MAX_EPS}]")
    smallest = min(min(w.shape) for w in matrices.values())
    if not 0 <= rank <= smallest:
        raise ParamError(
            f"rank {rank} is outside 1..{smallest}, the smaller side of the smallest target (0: dense)"
        )
    return ZoSpec(
        run_seed=run_seed,
        targets=tuple(sorted(matrices)),
        shapes=shapes_of(matrices),
        base_sha256=digest_of(matrices),
        steps=steps,
        workers=workers,
        probes=probes,
        rank=rank,
        eps=eps,
        lr=lr,
        sides=sides,
        estimator=estimator,
    )


def require_precision(weights: Mapping[str, Tensor], eps: float) -> None:
    """Refuse weights whose format cannot hold a change of eps at their typical size.

    Raises:
        PrecisionError: naming the first matrix for which eps is below half an ulp of its mean size.
    """
    for name, weight in weights.items():
        ulp = torch.finfo(weight.dtype).eps * float(weight.detach().abs().mean())
        if weight.dtype in (torch.bfloat16, torch.float16) and eps < ulp / 2:
            raise PrecisionError(
                f"eps {eps:g} is below half an ulp ({ulp / 2:.2g}) of {name} in {weight.dtype}; use float32"
            )


class ZoWorker:
    """One prober: its own replica of the target matrices, and an objective to evaluate them on.

    Args:
        objective: what to minimise.
        spec: the run; its base digest must be that of the objective's matrices.
        worker: this worker's number, from 0.
        replica: matrices to share with the other workers of one process; its own unless said.
    """

    def __init__(
        self, objective: Objective, spec: ZoSpec, worker: int = 0, replica: Replica | None = None
    ) -> None:
        self.objective, self.spec, self.worker = objective, spec, worker
        self.replica = replica or Replica(objective.matrices())
        require_precision(self.replica.weights, spec.eps)
        objective.bind(self.replica.weights)
        self._probes = self._skipped = self._zeros = 0

    def probe(self, step: int, sample: int = 0) -> Probe:
        """The byte of one probe, the mean loss of its sides and the number of rows it saw.

        Raises:
            NonFiniteLossError: more than 5 % of this worker's probes (and more than two) had no finite loss.
            DegenerateLossError: ten losses in a row were exactly zero.
        """
        directions = self.spec.directions(step, self.worker, sample, self.replica.device)
        gradient, losses, n = self._slope(step, directions)
        self._watch(step, losses)
        byte = bytecode.encode(gradient)
        loss = sum(losses) / len(losses)
        return Probe(Record(step, self.worker, sample, byte), loss if math.isfinite(loss) else 0.0, n)

    def apply(self, records: Iterable[Record]) -> None:
        """Take the committed records into the replica, one at a time in their order."""
        self.replica.apply(self.spec, records)

    def digest(self) -> str:
        """SHA-256 of the replica."""
        return self.replica.digest()

    def export(self) -> dict[str, Tensor]:
        """The replica's matrices, copied."""
        return {n: w.clone() for n, w in self.replica.weights.items()}

    def _slope(self, step: int, directions: Mapping[str, Branch]) -> tuple[float, tuple[float, ...], int]:
        if self.spec.estimator == "jvp":
            return self._derivative(step, directions)
        eps = self.spec.eps
        with torch.no_grad():
            plus, n = self._side(step, directions, eps)
            minus, _ = self._side(step, directions, -eps if self.spec.sides == 2 else 0.0)
        return (plus - minus) / (eps * self.spec.sides), (plus, minus), n

    def _side(self, step: int, directions: Mapping[str, Branch], eps: float) -> tuple[float, int]:
        branches = {name: d.scaled(eps) for name, d in directions.items()} if eps else {}
        value, n = self.objective.value(step, self.worker, branches)
        return float(value), n

    def _derivative(
        self, step: int, directions: Mapping[str, Branch]
    ) -> tuple[float, tuple[float, ...], int]:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        rows = 0

        def along(size: Tensor) -> Tensor:
            nonlocal rows
            value, rows = self.objective.value(
                step, self.worker, {name: d.scaled(size) for name, d in directions.items()}
            )
            return value

        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # the fused attention has no forward mode
            value, slope = torch.func.jvp(along, (torch.zeros(()),), (torch.ones(()),))[:2]
        return float(slope), (float(value),), rows

    def _watch(self, step: int, losses: tuple[float, ...]) -> None:
        self._probes += 1
        self._skipped += not all(map(math.isfinite, losses))
        self._zeros = self._zeros + 1 if all(loss == 0 for loss in losses) else 0
        if self._skipped > max(2, _SKIPPED_SHARE * self._probes):
            raise NonFiniteLossError(
                f"step {step}, worker {self.worker}: losses {losses}; {self._skipped} of {self._probes} probes "
                "had no finite loss. Lower eps or lr"
            )
        if self._zeros >= _ZERO_LOSSES:
            raise DegenerateLossError(
                f"step {step}, worker {self.worker}: the loss was exactly 0 for {_ZERO_LOSSES} probes; "
                "compute it in float32, or choose an objective that is not yet solved"
            )
