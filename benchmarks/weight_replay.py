"""Rebuilding weights from a byte log: time per record, and bytes per step against the weights themselves.

    python benchmarks/weight_replay.py [--records 40]

36 matrices of MiniLM's shapes, rank 4. Bar: at most 20 ms of CPU a record, one byte a probe.
"""

from __future__ import annotations

import argparse
import io
import sys
from functools import partial

import numpy as np
import torch
from weight_common import cpu_seconds, verdict

from agentkit_weight.replica import Record, Replica, ZoSpec
from agentkit_weight.zo_log import ZoLog

SHAPES = ([(384, 384)] * 4 + [(1536, 384), (384, 1536)]) * 6


def main() -> None:
    """Time the replay, measure the log; exit code 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=40)
    count = parser.parse_args().records
    torch.set_num_threads(1)
    names = tuple(f"m{i:02d}" for i in range(len(SHAPES)))
    base = {n: torch.randn(s) * 0.05 for n, s in zip(names, SHAPES, strict=True)}
    good = []
    for rank in (1, 4):
        spec = ZoSpec(1, names, tuple(SHAPES), "", steps=20_000, rank=rank)
        replica = Replica(base)
        times = [cpu_seconds(partial(replica.apply, spec, [Record(i, 0, 0, 64)])) for i in range(count)]
        good.append(
            verdict(f"rank {rank}: CPU ms per record (least of {count})", 1e3 * min(times), 20.0, " ms")
        )
        print(f"{'':20s}median {1e3 * float(np.median(times)):.2f} ms")
    steps = 20_000
    rng = np.random.default_rng(0)
    records = tuple(Record(i, 0, 0, int(b)) for i, b in enumerate(rng.integers(1, 256, steps)))
    arrays = ZoLog(spec, records).arrays()
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    weights = sum(4 * m * n for m, n in SHAPES)
    print(
        f"{steps} steps of one worker: payload {arrays['bytes'].nbytes:,} bytes, file with header {stream.tell():,}; "
        f"the 36 matrices {weights:,} bytes, the whole model 90.9 MB"
    )
    good.append(verdict("payload bytes per step", arrays["bytes"].nbytes / steps, 1.0))
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
