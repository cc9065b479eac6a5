"""Width, coverage and time of the anytime interval against ville's BettingCS and EmpiricalBernsteinCS, same data.

    python benchmarks/anytime_ci.py [--quick]

Peer: pip install ville==0.1.0. The bars: mean width at most 1.10 of BettingCS, CPU time at most 0.2 of it. Ville is
run as its users run it (`fit`, default grid), without its running intersection, which ours does not use either; the
time of both settings is shown. Coverage is "never misses at any of the n looks", which both sides promise at .95.
"""

from __future__ import annotations

import argparse
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agentkit.stats.eprocess import log_k_minus_path, log_k_plus_path, streams
from agentkit.stats.intervals import anytime_intervals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Cell = tuple[str, int, dict[str, list["Run"]]]

LEVEL, THETA = 0.05, 0.5
WIDTH_BAR, TIME_BAR = 1.10, 0.2
UNITS = (50, 200, 1000)
LAWS: dict[str, tuple[float, Callable[[np.random.Generator, int], Floats]]] = {  # mean, draw; all in [-1, 1]
    "narrow (sd .15)": (0.1, lambda rng, n: np.clip(rng.normal(0.1, 0.15, n), -0.8, 1.0)),
    "wide (sd .45)": (0.0, lambda rng, n: np.clip(rng.normal(0.0, 0.5, n), -1.0, 1.0)),
    "coins": (0.2, lambda rng, n: rng.choice([-1.0, 1.0], n, p=[0.4, 0.6])),
    "rare loss": (0.0, lambda rng, n: np.where(rng.random(n) < 0.1, -0.9, 0.1)),
}


class Run(NamedTuple):
    """One data set under one method."""

    width: float
    misses: bool
    cpu_seconds: float


def ours(x: Floats, mean: float) -> Run:
    """One interval after the last unit; whether any look missed is asked of the e-process, its dual."""
    start = time.process_time()
    data = streams("bounded_mean", [x], [np.zeros(len(x), bool)], [-1.0], [1.0])
    low, high = anytime_intervals(data, THETA, LEVEL)
    seconds = time.process_time() - start
    log_e = np.maximum(log_k_plus_path(data, [mean]), log_k_minus_path(data, [mean])) + np.log(THETA)
    return Run(float(high[0] - low[0]), bool(log_e.max() >= np.log(1 / LEVEL)), seconds)


def ville(name: str, *, intersect: bool) -> Callable[[Floats, float], Run]:
    """A confidence sequence of ville, over the same range."""
    import ville.means

    kind = getattr(ville.means, name)

    def run(x: Floats, mean: float) -> Run:
        start = time.process_time()
        sequence = kind(bounds=(-1.0, 1.0), alpha=LEVEL, intersect=intersect).fit(x)
        seconds = time.process_time() - start
        low, high = sequence.interval()
        return Run(high - low, sequence.excludes(mean) is not None, seconds)

    return run


def compare(repeats: int) -> Iterator[Cell]:
    """Every law and number of units, all methods interleaved on the same data."""
    methods = {
        "ours": ours,
        "BettingCS": ville("BettingCS", intersect=False),
        "BettingCS, intersected": ville("BettingCS", intersect=True),
        "EmpiricalBernsteinCS": ville("EmpiricalBernsteinCS", intersect=False),
    }
    for law, (mean, draw) in LAWS.items():
        for n in UNITS:
            runs: dict[str, list[Run]] = {name: [] for name in methods}
            for repeat in range(repeats):
                x = draw(np.random.default_rng([81, n, repeat]), n)
                for name, method in methods.items():
                    runs[name].append(method(x, mean))
            yield law, n, runs


def show(cells: Iterable[Cell], repeats: int) -> tuple[float, float]:
    """Print the table; return the mean width ratio and the median time ratio to BettingCS."""
    print(f"{'law':16} {'units':>5}  {'width':>6} {'/betting':>8} {'(10-90 %)':>11} {'/intersected':>12} {'/EB':>5}"
          f"  {'misses ours, betting, EB':>24}  {'ms':>6} {'/betting':>8} {'/intersected':>12}")  # fmt: skip
    widths, times = [], []
    for law, n, runs in cells:
        width = {name: np.array([r.width for r in its]) for name, its in runs.items()}
        seconds = {name: float(np.median([r.cpu_seconds for r in its])) for name, its in runs.items()}
        misses = [sum(r.misses for r in runs[name]) for name in ("ours", "BettingCS", "EmpiricalBernsteinCS")]
        ratio = width["ours"] / width["BettingCS"]
        low, high = np.quantile(ratio, [0.1, 0.9])
        widths.append(ratio.mean())
        times.append(seconds["ours"] / seconds["BettingCS"])
        print(
            f"{law:16} {n:5d}  {width['ours'].mean():6.3f} {ratio.mean():8.3f} {low:5.2f}-{high:4.2f}"
            f" {np.mean(width['ours'] / width['BettingCS, intersected']):12.3f}"
            f" {np.mean(width['ours'] / width['EmpiricalBernsteinCS']):5.2f}"
            f"  {', '.join(map(str, misses)):>18} of {repeats:3d}  {1000 * seconds['ours']:6.2f} {times[-1]:8.3f}"
            f" {seconds['ours'] / seconds['BettingCS, intersected']:12.3f}",
            flush=True,
        )
    return float(np.mean(widths)), float(np.median(times))


def many_hypotheses() -> float:
    """CPU seconds for the intervals of 200 hypotheses with 200 units each, best of three."""
    rng = np.random.default_rng(82)
    rows = list(np.clip(rng.normal(0.1, 0.3, (200, 200)), -1, 1))
    seconds = []
    for _ in range(3):
        start = time.process_time()
        data = streams("bounded_mean", rows, [np.zeros(200, bool)] * 200, [-1.0] * 200, [1.0] * 200)
        anytime_intervals(data, THETA, LEVEL)
        seconds.append(time.process_time() - start)
    return min(seconds)


def machine() -> str:
    """Processor and versions, as benchmark tables need them."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor()
    return f"{cpu}, python {platform.python_version()}, numpy {np.__version__}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 data sets a cell instead of 40")
    repeats = 10 if parser.parse_args().quick else 40
    print(f"{machine()}, ville {version('ville')}; level {LEVEL}, {repeats} data sets a cell, CPU time")
    width, seconds = show(compare(repeats), repeats)
    print(f"200 hypotheses x 200 units in one call: {many_hypotheses():.2f} s")
    print(
        f"mean width / BettingCS {width:.3f} (bar {WIDTH_BAR}): {'met' if width <= WIDTH_BAR else 'MISSED'}"
    )
    print(
        f"median time / BettingCS {seconds:.3f} (bar {TIME_BAR}): {'met' if seconds <= TIME_BAR else 'MISSED'}"
    )
    return int(width > WIDTH_BAR or seconds > TIME_BAR)


if __name__ == "__main__":
    raise SystemExit(main())
