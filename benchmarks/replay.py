"""A session of 200 turns and its replay through the real client and SDK: 0 differences, and how long it takes.

The original's tools answer at once, so its wall time is that of model, record and gates alone (bar <= 0.2 counts an
original with a model that takes a second a turn; both figures are printed).
"""

from __future__ import annotations

import sys
import time

from agent_common import show, tiny_lab
from turn_overhead import ours

TURNS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
MODEL_S = 1.0
BAR = 0.2


def main() -> int:
    from agentkit.ledger.sessions import find_session
    from agentkit.testing.replay import replay

    with tiny_lab() as lab:
        _, original_ms = ours(lab, TURNS, "original")
        session = find_session(lab.campaign("bench"), "original")
        began = time.perf_counter()
        replayed = replay(session)
        seconds = time.perf_counter() - began
    original = original_ms * (TURNS) / 1000
    with_model = original + MODEL_S * (TURNS + 1)
    figures = {"turns": replayed.turns, "calls": replayed.calls, "original_s": round(original, 2)}
    figures |= {"original_with_a_model_of_1_s_a_turn_s": round(with_model, 2), "replay_s": round(seconds, 2)}
    bars = {
        "0 differences": replayed.turns == TURNS + 1,
        f"<= {BAR} of the original": seconds <= BAR * with_model,
    }
    return show(figures, bars)


if __name__ == "__main__":
    sys.exit(main())
