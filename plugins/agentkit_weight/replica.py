"""Private float32 weights of a zeroth-order run, and the exact rule by which a record changes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from agentkit_weight import bytecode
from agentkit_weight.branches import Branch, Dense, LowRank
from agentkit_weight.noise import NOISE_VERSION, sign_factors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

_TILE_ROWS = 128
"""Rows of Z formed at once: a tile stays in the cache, and no m x n temporary is made."""


class Record(NamedTuple):
    """What one probe contributes: four numbers that say which, and one byte that says how much."""

    step: int
    worker: int
    sample: int
    byte: int


@dataclass(frozen=True)
class ZoSpec:
    """Everything that turns a byte log into weights. Travels as JSON; equal spec, equal weights.

    Args:
        run_seed: 63-bit seed of the run's noise.
        targets: names of the matrices, sorted; their order is part of the noise rule.
        shapes: (m, n) of each target.
        base_sha256: digest of the matrices before the first step.
        steps: how many steps the schedule is made for.
        workers: how many workers probe in each step, whether or not they answer.
        probes: probes of each worker in each step.
        rank: k of the +-1 direction Z = U V; 0 for a dense Z.
        eps: probe radius per entry and rank.
        lr: learning rate of step 0; it decays linearly.
        sides: 2 for a central difference, 1 for a forward one.
        estimator: `spsa` or `jvp`.
        noise_version: the rule in `agentkit_weight.noise`.
    """

    run_seed: int
    targets: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    base_sha256: str
    steps: int
    workers: int = 1
    probes: int = 1
    rank: int = 1
    eps: float = 2**-10
    lr: float = 1e-3
    sides: int = 2
    estimator: str = "spsa"
    noise_version: str = NOISE_VERSION

    @property
    def table_sha256(self) -> str:
        """Hash of the byte-to-coefficient table."""
        return bytecode.table_sha256(self.lr, self.steps, self.workers * self.probes, max(1, self.rank))

    def coefficient(self, record: Record) -> float:
        """The exact factor of this record's direction."""
        rate = bytecode.linear_decay(self.lr, record.step, self.steps)
        return bytecode.coefficient(record.byte, rate, self.workers * self.probes, max(1, self.rank))

    def directions(self, step: int, worker: int, sample: int, device: str = "cpu") -> dict[str, Branch]:
        """Z of one probe for every target, as branches of scale 1, float32; drawn on the host, then moved."""
        signs = sign_factors(self.run_seed, step, worker, sample, self.shapes, self.rank)
        return {
            name: _direction(torch.from_numpy(u).to(device).float(), torch.from_numpy(v).to(device).float())
            for name, (u, v) in zip(self.targets, signs, strict=True)
        }


class Replica:
    """The target matrices of one run, float32, owned by it: the user's tensors are only read.

    Args:
        base: matrices by name; copied.
    """

    def __init__(self, base: Mapping[str, Tensor]) -> None:
        self.weights = {n: base[n].detach().to(torch.float32, copy=True).contiguous() for n in sorted(base)}

    def apply(self, spec: ZoSpec, records: Iterable[Record]) -> None:
        """Add every record's step, one at a time, in (step, worker, sample) order.

        Summing a step's records first would round differently and give another replica.
        """
        for record in sorted(records, key=lambda r: r[:3]):
            self.add(spec.directions(*record[:3], self.device), spec.coefficient(record))

    def add(self, directions: Mapping[str, Branch], coefficient: float) -> None:
        """W += coefficient * Z with one rounding per entry: Z first (exact integers), then one add."""
        if coefficient == 0:
            return
        for name, branch in directions.items():
            weight = self.weights[name]
            if isinstance(branch, Dense):
                weight.add_(branch.matrix, alpha=coefficient)
                continue
            if branch.left.shape[1] == 1:  # entries +-coefficient: the outer product is exact in any order
                weight.addr_(branch.left[:, 0], branch.right[0], alpha=coefficient)
                continue
            for top in range(0, weight.shape[0], _TILE_ROWS):
                rows = slice(top, top + _TILE_ROWS)
                weight[rows].add_(branch.left[rows] @ branch.right, alpha=coefficient)

    def digest(self) -> str:
        """SHA-256 over the bytes of all matrices in name order."""
        return digest_of(self.weights)

    @property
    def device(self) -> str:
        """Where the matrices are."""
        return str(next(iter(self.weights.values())).device)

    @property
    def nbytes(self) -> int:
        """Memory the replica holds, in bytes."""
        return sum(w.numel() * w.element_size() for w in self.weights.values())


def _direction(u: Tensor, v: Tensor) -> Branch:
    return LowRank(u, v) if v.shape[0] else Dense(u)


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over name, shape and float32 bytes (little-endian, row by row) in name order."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        weight = weights[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(weight.numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def shapes_of(weights: Mapping[str, Tensor]) -> tuple[tuple[int, int], ...]:
    """(m, n) of each matrix in name order."""
    return tuple((int(weights[n].shape[0]), int(weights[n].shape[1])) for n in sorted(weights))


def in_order(records: Sequence[Record]) -> list[Record]:
    """Records by step, worker, sample."""
    return sorted(records, key=lambda r: r[:3])
