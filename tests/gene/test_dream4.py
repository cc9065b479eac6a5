"""GeneNetWeaver's own noise-free double knock-outs (reference data, not in the repository)."""

from __future__ import annotations

import pytest

from tests.gene.dream4 import rows_of
from tests.gene.kit import shared_data


@pytest.mark.parametrize(
    "number", [1, pytest.param(2, marks=pytest.mark.slow), 3, 4, 5]
)  # slow: the second wild type oscillates and is integrated to the horizon, 8 s
def test_double_knockouts_of_ten_gene_networks_are_reproduced(number: int) -> None:
    data = shared_data("gnw_dream4")
    scale, rows = rows_of(
        data / f"models/dream4/insilico_size10_{number}.xml",
        data / f"dream4_dualko/insilico_size10_{number}_nonoise_dualknockouts.tsv",
    )
    assert 0.6 < scale < 0.8
    assert len(rows) == 5
    for row in rows:
        assert row.error <= 2e-3
        assert row.next_error > 10 * row.error
