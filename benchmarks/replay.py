"""A session of 200 turns and its replay through the real client and SDK: 0 differences, and how long it takes.

The bar (<= 0.2 of the original's wall time without tools) is about an original whose model takes its time: each turn of
it is counted with 1 s. Beside it stands the ratio to a model that answers at once, in CPU time: both then run the same
client and SDK, which write the whole conversation out again for each turn, so that this ratio cannot be small; how much
of the replay is theirs is printed.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from agent_common import show, tiny_lab
from turn_overhead import ours

TURNS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
MODEL_S = 1.0
BAR = 0.2


def main() -> int:
    from agentkit.ledger.sessions import find_session
    from agentkit.testing import replay as module

    with tiny_lab() as lab:
        cpu_ms, wall_ms = ours(lab, TURNS, "original")
        session = find_session(lab.campaign("bench"), "original")
        client = _timed(module)
        cpu, wall = time.process_time(), time.perf_counter()
        replayed = module.replay(session)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    with_model = wall_ms * TURNS / 1000 + MODEL_S * (TURNS + 1)
    figures: dict[str, Any] = {"turns": replayed.turns, "calls": replayed.calls}
    figures["original"] = {
        "cpu_s": round(cpu_ms * TURNS / 1000, 2),
        "wall_s": round(wall_ms * TURNS / 1000, 2),
    }
    figures["replay"] = {"cpu_s": round(cpu, 2), "wall_s": round(wall, 2)}
    figures["replay / original, cpu, model at once"] = round(cpu * 1000 / (cpu_ms * TURNS), 3)
    figures["replay / original, wall, model of 1 s a turn"] = round(wall / with_model, 3)
    figures["share of the replay's wall time in client, SDK and server"] = round(client["wall"] / wall, 3)
    bars = {
        "0 differences": replayed.turns == TURNS + 1,
        f"<= {BAR} of an original with a model of 1 s a turn": wall <= BAR * with_model,
    }
    return show(figures, bars)


def _timed(module: Any) -> dict[str, float]:
    """Seconds that a replay spends asking: the real client, the SDK, and the loopback server that answers them."""
    spent = {"wall": 0.0}
    asked = module._asked

    def timed(*args: Any) -> Any:
        began = time.perf_counter()
        try:
            return asked(*args)
        finally:
            spent["wall"] += time.perf_counter() - began

    module._asked = timed
    return spent


if __name__ == "__main__":
    sys.exit(main())
