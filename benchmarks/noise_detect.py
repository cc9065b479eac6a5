"""The detector beside both of its controls, with ledger verdicts: `noise_studies.py detect`.

python benchmarks/noise_detect.py
"""

from __future__ import annotations

from noise_studies import main

if __name__ == "__main__":
    main("detect")
