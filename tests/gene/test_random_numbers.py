"""Counter-based streams and the counts drawn from them."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from agentkit_gene.simulation import coupled, philox
from tests.gene.kit import chi_square

GOLDEN = {  # the first words of one key; a change here changes every simulated number
    (0, 0): [0x6F1006F16119D8A5, 0x6B18CD583A9F410D, 0xCDC45F1E3B801193, 0x5D08ABD5EF3D48E5],
    (2, 7): [0x71B8E45B55D23B52, 0xA0494FC022356CF6],
}


def test_any_stretch_of_a_stream_equals_the_same_stretch_of_a_sequential_draw() -> None:
    key = philox.stream_key(1, "noise")
    whole = philox.words(key, (2, 5), 0, 1000)
    for first, count in ((0, 7), (3, 9), (401, 599), (998, 2)):
        assert np.array_equal(philox.words(key, (2, 5), first, count), whole[first : first + count])


def test_normals_and_uniforms_of_a_row_do_not_depend_on_where_drawing_began() -> None:
    key, blocks = philox.stream_key(1, "noise"), [(0, 0), (1, 3)]
    for draw in (philox.normals, philox.uniforms):
        whole = draw(key, blocks, 0, 40)
        assert torch.equal(draw(key, blocks, 17, 5), whole[17:22])
        assert torch.equal(draw(key, blocks[1:], 17, 5), whole[17:22, 1:])


def test_words_of_one_key_are_the_ones_in_the_repository() -> None:
    key = philox.stream_key(123, "noise")
    for block, words in GOLDEN.items():
        assert [int(w) for w in philox.words(key, block, 0, len(words))] == words


def test_streams_of_other_units_purposes_types_and_blocks_differ() -> None:
    def first(seed: int, purpose: str, block: tuple[int, int]) -> int:
        return int(philox.words(philox.stream_key(seed, purpose), block, 0, 1)[0])

    seen = {first(s, p, b) for s in (1, 2) for p in ("noise", "guide") for b in ((0, 0), (0, 1), (1, 0))}
    assert len(seen) == 12


def test_normals_are_standard_normal() -> None:
    z = philox.normals(philox.stream_key(9, "noise"), [(0, b) for b in range(4)], 0, 800).numpy().ravel()
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 0.01


def _uniforms(shape: tuple[int, ...], seed: int = 3) -> torch.Tensor:
    rows = philox.uniforms(philox.stream_key(seed, "u"), [(0, 0)], 0, -(-int(np.prod(shape)) // 64))
    return rows.reshape(-1)[: int(np.prod(shape))].view(shape)


def _draws(n_parts: int, size: int) -> list[torch.Tensor]:
    return [_uniforms((size,), seed=40 + k) for k in range(n_parts)]


def test_coupled_poisson_has_the_poisson_law_below_and_above_one_part() -> None:
    parts = _draws(8, 60_000)
    for mean in (0.05, 0.7, 6.0, 31.9, 75.0):
        x = coupled.poisson(torch.full((60_000,), mean, dtype=torch.float64), lambda k: parts[k]).numpy()
        assert chi_square(x, stats.poisson(mean)) > 1e-3


def test_coupled_binomial_has_the_binomial_law_below_and_above_one_part() -> None:
    parts = _draws(8, 60_000)
    rate = torch.tensor([0.148], dtype=torch.float64)
    for n in (1, 9, 127, 128, 129, 400):
        x = coupled.binomial(torch.full((60_000,), float(n), dtype=torch.float64), rate, lambda k: parts[k])
        assert chi_square(x.numpy(), stats.binom(n, 0.148)) > 1e-3
        assert float(x.max()) <= n


def test_coupled_counts_rise_with_the_mean_and_are_equal_for_equal_means() -> None:
    parts = _draws(8, 512)
    means = torch.cat([torch.linspace(0, 80, 100, dtype=torch.float64), torch.tensor([32.0, 64.0])]).sort()[0]
    grid = torch.stack([coupled.poisson(m.expand(512).contiguous(), lambda k: parts[k]) for m in means])
    assert bool((grid.diff(dim=0) >= 0).all())
    again = coupled.poisson(means[50].expand(512).contiguous(), lambda k: parts[k])
    assert torch.equal(again, grid[50])
    rate = torch.tensor([0.2], dtype=torch.float64)
    lost = torch.stack(
        [
            coupled.binomial(torch.full((512,), float(n), dtype=torch.float64), rate, lambda k: parts[k])
            for n in range(0, 300, 19)
        ]
    )
    assert bool((lost.diff(dim=0) >= 0).all())


def test_counts_do_not_depend_on_what_is_drawn_beside_them() -> None:
    parts = _draws(8, 64)
    small = torch.full((64,), 3.0, dtype=torch.float64)
    alone = coupled.poisson(small, lambda k: parts[k])
    mixed = coupled.poisson(
        torch.stack([small, torch.full_like(small, 90.0)]), lambda k: parts[k].expand(2, -1)
    )
    assert torch.equal(alone, mixed[0])


def test_a_stronger_guide_is_stronger_in_every_cell_and_its_mean_is_its_efficacy() -> None:
    from agentkit_gene.simulation.engine import guide_efficacy

    blocks = [(0, b) for b in range(200)]
    weak, strong = (guide_efficacy(5, blocks, 3, e, 1.0) for e in (0.4, 0.7))
    assert bool((strong >= weak).all())
    assert abs(float(strong.mean()) - 0.7) < 0.005
    partial = guide_efficacy(5, blocks, 3, 0.7, 0.6)
    assert abs(float((partial > 0).double().mean()) - 0.6) < 0.02
