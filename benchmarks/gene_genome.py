"""A genome-scale screen through the lab: 1000 genes, every single knock-out, 50 cells in each type, on 2 workers.

    python benchmarks/gene_genome.py [--genes 1000] [--types 9] [--units 2] [--kill-after SECONDS]

With --kill-after the driver is ended that long after the screen began and the study resumed, to show that finished
parts are kept. The bar: 15 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDY = """
campaign: {{name: genome}}
explore:
  - tool: gene.screen
    params: {{target: "grn:scalefree?genes={genes}&seed=3&types={types}", genes: all, readout: G{read}, cells: 50}}
    units: {units}
store: sqlite:///{folder}/genome.db
workers: local:2
"""


def run(study: Path, *options: str, kill_after: float | None = None) -> tuple[float, str]:
    """(wall seconds, what was printed) of one `agentkit run`."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", "from agentkit.cli.main import main; main()", "run", str(study), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        said, _ = process.communicate()
    return time.monotonic() - began, said


def main() -> None:
    """Print the wall time of the screen, and of the resumed part when it was ended on purpose."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--types", type=int, default=9)
    parser.add_argument("--units", type=int, default=2)
    parser.add_argument("--kill-after", type=float)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="gene-genome-")
    study = Path(folder) / "study.yaml"
    study.write_text(
        STUDY.format(
            genes=args.genes, types=args.types, units=args.units, read=args.genes // 2, folder=folder
        )
    )
    if args.kill_after:
        seconds, _ = run(study, kill_after=args.kill_after)
        print(f"ended on purpose after {seconds:.0f} s")
        seconds, said = run(study, "--resume")
        print(f"resumed: {seconds:.0f} s")
    else:
        seconds, said = run(study)
        print(
            f"{args.genes} genes x {args.genes} knock-outs x 50 cells x {args.types} types x {args.units} unit(s): {seconds:.0f} s"
        )
    print(said[-800:])
    print(f"kept in {folder}")


if __name__ == "__main__":
    main()
