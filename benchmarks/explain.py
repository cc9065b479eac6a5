"""Four ways to rank the regions of an image at their own cost, beside random order: insertion and deletion areas.

    python benchmarks/explain.py [--units 10] [--target digits:cnn] [--data digits:] [--grid 4]

No bar: the table is the result. Areas are means over units of four images, with standard errors.
"""

from __future__ import annotations

import argparse
import tempfile

from agentkit import Lab


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--units", type=int, default=10)
    parser.add_argument("--target", default="digits:cnn")
    parser.add_argument("--data", default="digits:")
    parser.add_argument("--grid", type=int, default=4)
    asked = parser.parse_args()
    for fill in ("blur", "zero"):
        with tempfile.TemporaryDirectory() as folder, Lab(f"{folder}/explain.db", workers="inline") as lab:
            table = lab.explore(
                "attention.explain", units=asked.units, campaign=lab.campaign("explain", seed=1), fill=fill,
                target=asked.target, data=asked.data, grid=asked.grid,
            )  # fmt: skip
        for condition in table.conditions:
            cells = []
            for metric in table.metrics:
                v = table.column(metric, condition)
                cells.append(f"{metric} {v.mean():.3f} ± {v.std(ddof=1) / len(v) ** 0.5:.3f}")
            name = "random order" if condition == "baseline" else condition
            print(f"fill {fill:5} {name:13} " + "   ".join(cells))


if __name__ == "__main__":
    main()
