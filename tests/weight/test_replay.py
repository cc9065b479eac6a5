"""The byte log alone determines the weights: six implementations, one SHA-256."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit_weight.noise import sign_factors
from agentkit_weight.replica import Record, Replica, ZoSpec, digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = ((40, 24), (17, 33))
NAMES = ("a", "b")
Step = tuple[float, np.ndarray, np.ndarray]


def base() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {n: torch.randn(s, generator=generator) * 0.1 for n, s in zip(NAMES, SHAPES, strict=True)}


def make_spec(rank: int, seed: int = 11) -> ZoSpec:
    return ZoSpec(seed, NAMES, SHAPES, digest_of(base()), steps=50, workers=3, probes=2, rank=rank, lr=0.02)


def steps_of(spec: ZoSpec, records: list[Record]) -> list[list[Step]]:
    """Per matrix, per record: coefficient, U, V."""
    rows: list[list[Step]] = [[], []]
    for record in sorted(records):
        factors = sign_factors(spec.run_seed, *record[:3], spec.shapes, spec.rank)
        for matrix, (u, v) in zip(rows, factors, strict=True):
            matrix.append((spec.coefficient(record), u, v))
    return rows


def by_torch(threads: int) -> Callable[[torch.Tensor, list[Step]], torch.Tensor]:
    def run(w: torch.Tensor, steps: list[Step]) -> torch.Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            for c, u, v in steps:  # Z is summed first (beta 0), then added once
                z = torch.addmm(torch.zeros_like(w), torch.tensor(u).float(), torch.tensor(v).float())
                w = torch.add(w, z, alpha=c)
        finally:
            torch.set_num_threads(before)
        return w

    return run


def by_numpy(w: torch.Tensor, steps: list[Step]) -> torch.Tensor:
    out = w.numpy().copy()
    for c, u, v in steps:
        out = out + np.float32(c) * (u.astype(np.float32) @ v.astype(np.float32))
    return torch.from_numpy(out)


def by_integers_in_reverse(w: torch.Tensor, steps: list[Step]) -> torch.Tensor:
    out = w.numpy().copy()
    for c, u, v in steps:
        z = np.zeros(out.shape, np.int32)
        for k in reversed(range(u.shape[1])):
            z += np.outer(u[:, k].astype(np.int32), v[k].astype(np.int32))
        out = (out.astype(np.float64) + c * z).astype(np.float32)  # exact product and sum, one rounding
    return torch.from_numpy(out)


def by_bfloat16_gemm(w: torch.Tensor, steps: list[Step]) -> torch.Tensor:
    for c, u, v in steps:
        z = torch.tensor(u).bfloat16() @ torch.tensor(v).bfloat16()
        w = w + c * z.float()
    return w


def by_transposed_storage(w: torch.Tensor, steps: list[Step]) -> torch.Tensor:
    stored = w.T.contiguous()
    for c, u, v in steps:
        stored.add_(torch.tensor(v).float().T @ torch.tensor(u).float().T, alpha=c)
    return stored.T.contiguous()


IMPLEMENTATIONS = [
    by_torch(1),
    by_torch(2),
    by_numpy,
    by_integers_in_reverse,
    by_bfloat16_gemm,
    by_transposed_storage,
]

logs = st.lists(
    st.builds(Record, st.integers(0, 49), st.integers(0, 2), st.integers(0, 1), st.integers(0, 255)),
    min_size=1,
    max_size=30,
    unique_by=lambda r: r[:3],
)


@settings(max_examples=25, deadline=None)
@given(logs, st.sampled_from([1, 4, 16]))
def test_six_implementations_of_the_replay_give_one_sha256(records: list[Record], rank: int):
    spec = make_spec(rank)
    replica = Replica(base())
    replica.apply(spec, records)
    steps = steps_of(spec, records)
    digests = {
        digest_of({n: apply(w.clone(), s) for (n, w), s in zip(base().items(), steps, strict=True)})
        for apply in IMPLEMENTATIONS
    }
    assert digests == {replica.digest()}


def test_gaussian_noise_has_no_such_agreement():
    """The negative control: with normal factors the summation order shows in the bits."""
    generator = np.random.default_rng(0)
    steps = [
        (
            0.00123,
            generator.normal(size=(40, 4)).astype(np.float32),
            generator.normal(size=(4, 24)).astype(np.float32),
        )
        for _ in range(20)
    ]
    fused = base()["a"].clone()
    for c, u, v in steps:
        fused.addmm_(torch.tensor(u), torch.tensor(v), alpha=c)
    rank_by_rank = base()["a"].clone()
    for c, u, v in steps:
        for k in reversed(range(4)):
            rank_by_rank += c * torch.outer(torch.tensor(u[:, k]), torch.tensor(v[k]))
    assert not torch.equal(fused, rank_by_rank)


def test_the_order_of_delivery_does_not_show_and_one_changed_byte_does():
    spec = make_spec(4)
    records = [Record(s, w, p, 40 + s + w) for s in range(6) for w in range(3) for p in range(2)]
    straight, shuffled, changed = Replica(base()), Replica(base()), Replica(base())
    straight.apply(spec, records)
    shuffled.apply(spec, [records[i] for i in np.random.default_rng(1).permutation(len(records))])
    changed.apply(spec, [records[0]._replace(byte=records[0].byte ^ 1), *records[1:]])
    assert straight.digest() == shuffled.digest() != changed.digest()


def test_summing_a_steps_records_first_gives_another_replica():
    spec = make_spec(1)
    records = [Record(0, w, p, 90 + w) for w in range(3) for p in range(2)]
    one_by_one = Replica(base())
    one_by_one.apply(spec, records)
    summed = {
        n: w + sum(c * torch.tensor(u).float() @ torch.tensor(v).float() for c, u, v in s)
        for (n, w), s in zip(base().items(), steps_of(spec, records), strict=True)
    }
    assert digest_of(summed) != one_by_one.digest()


def test_the_noise_rule_is_the_published_one():
    """Philox4x64 at counter (0, 0, 0, index), checked against numpy's own constructor; one golden value."""
    (u1, v1), (u2, v2) = sign_factors(7, 3, 2, 1, [(5, 9), (4, 4)], rank=2)
    words = np.random.Philox(
        key=np.array([7, 3 << 32 | 2 << 16 | 1], dtype=np.uint64),
        counter=np.array([0, 0, 0, 1], dtype=np.uint64),
    ).random_raw(1)
    bits = "".join(f"{b:08b}" for b in int(words[0]).to_bytes(8, "little"))[:28]
    assert [int(s) for s in np.concatenate([u1.ravel(), v1.ravel()])] == [1 if b == "1" else -1 for b in bits]
    assert "".join("1" if s > 0 else "0" for s in np.concatenate([u2.ravel(), v2.ravel()])) == GOLDEN_SIGNS


GOLDEN_SIGNS = "0000000001000100"


def test_the_probe_count_of_the_step_divides_it_whoever_answered():
    spec = make_spec(1)
    alone = dataclasses.replace(spec, workers=1, probes=1)
    record = Record(0, 0, 0, 64)
    assert alone.coefficient(record) == pytest.approx(6 * spec.coefficient(record), rel=2**-11)
