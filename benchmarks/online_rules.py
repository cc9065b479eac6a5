"""Online rules on long streams against online-fdr: equal decisions, and how much less time.

    python benchmarks/online_rules.py [--quick]

Peer: pip install online-fdr==1.0.0. The bar: at most 0.2 of its CPU time on streams of 10^4 hypotheses, every decision
equal. Rounds are interleaved; the median and the range over rounds are shown. online-fdr has no online e-BH: ours is
timed alone, once over the finished stream and once after every 100 arrivals.
"""

from __future__ import annotations

import argparse
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit.stats import procedures

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

ALPHA, BAR = 0.05, 0.2


def stream(length: int, share_true: float, seed: int) -> Floats:
    """p-values: uniform nulls, and true ones that are mostly tiny."""
    rng = np.random.default_rng([83, seed])
    return np.where(rng.random(length) < share_true, rng.beta(0.05, 8, length), rng.random(length))


def peers() -> dict[str, Callable[[], Any]]:
    """Fresh rules of online-fdr, set as ours are."""
    from online_fdr.e_values.sequential import ELond
    from online_fdr.p_values.investing.addis.addis import Addis
    from online_fdr.p_values.investing.lord.plus_plus import LordPlusPlus
    from online_fdr.p_values.investing.saffron.saffron import Saffron

    return {
        "lord_plus_plus": lambda: LordPlusPlus(ALPHA, ALPHA / 2),
        "saffron": lambda: Saffron(ALPHA, ALPHA / 2, procedures.SAFFRON_LAMBDA),
        "addis": lambda: Addis(ALPHA, ALPHA / 2, procedures.ADDIS_LAMBDA, procedures.ADDIS_TAU),
        "e_lond": lambda: ELond(ALPHA),
    }


def our_decisions(rule: str, p: Floats) -> Bools:
    if rule == "e_lond":
        return procedures.e_lond(procedures.log_e_from_p(p), procedures.lord_weights(len(p)), ALPHA).rejected
    decisions: procedures.Decisions = getattr(procedures, rule)(p, ALPHA)
    return decisions.rejected


def peer_decisions(rule: Any, values: list[float]) -> Bools:
    return np.array([rule.test_one(value) for value in values])


def timed(run: Callable[[], Bools]) -> tuple[Bools, float]:
    start = time.process_time()
    out = run()
    return out, time.process_time() - start


def compare(
    rule: str, make_peer: Callable[[], Any], share_true: float, length: int, rounds: int
) -> tuple[bool, float]:
    """Print one row; return whether all decisions agree, and the median time ratio."""
    mine, its, equal, rejected = [], [], True, 0
    for seed in range(rounds):
        p = stream(length, share_true, seed)
        values = (np.exp(procedures.log_e_from_p(p)) if rule == "e_lond" else p).tolist()
        ours, seconds = timed(lambda p=p: our_decisions(rule, p))
        theirs, peer_seconds = timed(lambda values=values: peer_decisions(make_peer(), values))
        equal = equal and bool(np.array_equal(ours, theirs))
        mine.append(seconds)
        its.append(peer_seconds)
        rejected += int(ours.sum())
    ratio = np.array(mine) / np.array(its)
    print(
        f"{rule:15} {share_true:9.2f} {rejected / rounds:9.0f} {'equal' if equal else 'DIFFER':>9}"
        f" {1000 * np.median(mine):9.2f} {1000 * np.median(its):12.2f} {np.median(ratio):7.3f} {ratio.min():6.3f}-{ratio.max():.3f}"
    )
    return equal, float(np.median(ratio))


def online_ebh_seconds(length: int) -> tuple[float, float]:
    """CPU seconds of online e-BH: once at the end, and after every 100 arrivals."""
    log_e, weights = procedures.log_e_from_p(stream(length, 0.1, 0)), np.full(length, 1 / length)
    _, once = timed(lambda: np.array(procedures.online_ebh(log_e, weights, ALPHA)[0]))
    ends = range(100, length + 1, 100)
    _, along = timed(
        lambda: np.array([procedures.online_ebh(log_e[:n], weights[:n], ALPHA)[0] for n in ends])
    )
    return once, along


def machine() -> str:
    """Processor and versions, as benchmark tables need them."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor()
    return f"{cpu}, python {platform.python_version()}, numpy {np.__version__}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="2 rounds on streams of 2,000 instead of 5 on 10,000"
    )
    quick = parser.parse_args().quick
    length, rounds = (2_000, 2) if quick else (10_000, 5)
    print(
        f"{machine()}, online-fdr {version('online-fdr')}; {rounds} streams of {length}, alpha {ALPHA}, CPU time"
    )
    print(
        f"{'rule':15} {'true':>9} {'rejected':>9} {'decisions':>9} {'ours ms':>9} {'online-fdr ms':>12} {'ratio':>7} {'range':>12}"
    )
    rows = [
        compare(rule, make_peer, share, length, rounds)
        for rule, make_peer in peers().items()
        for share in (0.01, 0.1, 0.3)
    ]
    once, along = online_ebh_seconds(length)
    print(
        f"online_ebh (no peer): {1000 * once:.1f} ms over the stream, {1000 * along:.0f} ms after every 100 arrivals"
    )
    equal, worst = all(e for e, _ in rows), max(r for _, r in rows)
    print(f"decisions: {'all equal' if equal else 'DIFFER'}")
    print(f"worst median time ratio {worst:.3f} (bar {BAR}): {'met' if worst <= BAR else 'MISSED'}")
    return int(worst > BAR or not equal)


if __name__ == "__main__":
    raise SystemExit(main())
