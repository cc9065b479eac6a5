"""Noisy slot filling, five single and four mixed kinds, with ledger verdicts: `noise_studies.py slots`.

python benchmarks/noise_slots.py
"""

from __future__ import annotations

from noise_studies import main

if __name__ == "__main__":
    main("slots")
