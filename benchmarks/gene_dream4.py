"""DREAM4's noise-free double knock-outs, row by row: five networks of 10 genes, three of 100 (reference data).

    AGENTKIT_SHARED_DATA=... python benchmarks/gene_dream4.py [--size 10 100]

GeneNetWeaver wrote the steady states; the file does not say which genes are out, so the pair that fits best is named,
with the next best's error where there is one. One scale a network. The bar: at most 2e-3 in every row of size 10.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.gene.dream4 import rows_of
from tests.gene.kit import shared_data


def main() -> None:
    """Print each row's pair and largest error."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, nargs="*", default=[10, 100])
    args = parser.parse_args()
    data = shared_data("gnw_dream4")
    for size, count in ((10, 5), (100, 3)):
        worst = 0.0
        for k in range(1, count + 1) if size in args.size else ():
            name = f"insilico_size{size}_{k}"
            began = time.process_time()
            scale, rows = rows_of(
                data / f"models/dream4/{name}.xml", data / f"dream4_dualko/{name}_nonoise_dualknockouts.tsv"
            )
            print(f"{name}: scale {scale:.6f}, {len(rows)} rows, {time.process_time() - began:.1f} CPU-s")
            for i, row in enumerate(rows, 1):
                print(
                    f"  row {i:2d}  {row.pair[0]:>4s} {row.pair[1]:>4s}  error {row.error:.1e}   next pair {row.next_error:.2g}"
                )
            worst = max([worst, *(row.error for row in rows)])
        print(f"size {size}: worst row {worst:.1e}")


if __name__ == "__main__":
    main()
