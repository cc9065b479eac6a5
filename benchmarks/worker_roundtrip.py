"""One warm call there and back: our local child beside ProcessPoolExecutor(spawn) and loky; our Ray worker beside a bare actor.

    python benchmarks/worker_roundtrip.py [--quick] [--no-ray]

Peers: pip install loky==3.7.0 ray==2.60.0. Bars: median <= 5 ms local, <= 10 ms Ray. The peers return two numbers;
ours return a checked table, from a process with its own group, folder and clean environment. Exit code 1 on a miss.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from worker_common import drive, job, machine, median_ms, verdict, workers
from worker_tools import peer_noop

LOCAL_BAR_MS, RAY_BAR_MS = 5.0, 10.0


def ours(text: str, repeats: int) -> tuple[float, float]:
    """Median and p95 of submit-to-end of a no-op."""
    executor = workers(text)
    try:
        drive(executor, [job("bench.noop", run="warm")])
        numbers = iter(range(repeats))
        return median_ms(lambda: drive(executor, [job("bench.noop", run=str(next(numbers)))]), repeats)
    finally:
        executor.close()


def pool(repeats: int) -> tuple[float, float]:
    """The standard library's pool, spawned."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        executor.submit(peer_noop, [1]).result()
        return median_ms(lambda: executor.submit(peer_noop, [1]).result(), repeats)


def loky_pool(repeats: int) -> tuple[float, float]:
    """Joblib's pool."""
    from loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=2)
    executor.submit(peer_noop, [1]).result()
    try:
        return median_ms(lambda: executor.submit(peer_noop, [1]).result(), repeats)
    finally:
        executor.shutdown()


def bare_actor(repeats: int) -> tuple[float, float]:
    """A Ray actor that returns the two numbers, in the cluster that our Ray workers left open."""
    import ray

    class Actor:
        def call(self, seeds: list[int]) -> list[list[float]]:
            return [[0.5, (seed % 1000) / 1000] for seed in seeds]

    actor = ray.remote(Actor).remote()
    ray.get(actor.call.remote([1]))
    return median_ms(lambda: ray.get(actor.call.remote([1])), repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="100 calls instead of 1000")
    parser.add_argument("--no-ray", action="store_true")
    given = parser.parse_args()
    repeats = 100 if given.quick else 1000
    print(machine())
    rows = {
        "agentkit local": ours("local:1", repeats),
        "ProcessPoolExecutor": pool(repeats),
        "loky": loky_pool(repeats),
    }
    if not given.no_ray:
        from agentkit.workers import ray_cluster

        ray_cluster.start_cluster(2)
        rows["agentkit ray"] = ours("ray", repeats)
        rows["bare Ray actor"] = bare_actor(repeats)
        import ray

        ray.shutdown()
    for name, (median, p95) in rows.items():
        print(f"{name:<24} median {median:8.3f} ms   p95 {p95:8.3f} ms   ({repeats} calls)")
    holds = verdict("local round trip, median", rows["agentkit local"][0], "ms", at_most=LOCAL_BAR_MS)
    if "agentkit ray" in rows:
        holds &= verdict("Ray round trip, median", rows["agentkit ray"][0], "ms", at_most=RAY_BAR_MS)
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
