"""Do GGPO, MGPO or SAM beat plain LoRA on misspelt words? Runs the study in examples/ and prints the ledger's verdicts.

    python benchmarks/weight_quality.py [--output flat-output]

No bar: the point is that the verdicts are the ledger's, on twelve fresh units a claim, at equal epochs and at equal
passes. About 20 minutes on two idle cores; run again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

STUDY = Path(__file__).parent.parent / "examples" / "flat_or_not.yaml"


def main() -> None:
    """Hand the study to the command line; its exit code is ours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("flat-output"))
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    study = output / "study.yaml"
    study.write_text(STUDY.read_text(encoding="utf-8").replace("flat-output", str(output)), encoding="utf-8")
    resume = ["--resume"] if (output / "ledger.db").exists() else []
    sys.exit(subprocess.run(["agentkit", "run", str(study), *resume], check=False).returncode)


if __name__ == "__main__":
    main()
