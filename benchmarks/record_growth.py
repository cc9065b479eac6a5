"""Bytes that one turn adds to the ledger, at 50 and 200 turns; with `--sqlite-saver` beside LangGraph's file checkpointer.

Bars: linear (bytes at 200 / bytes at 50 <= 4.4), <= 20 kB a turn at 200 turns, <= 0.1 of SqliteSaver where measured.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from agent_common import show, tiny_lab
from turn_overhead import bare, ours

TURNS = (50, 200)
BAR_RATIO, BAR_BYTES, BAR_SHARE = 4.4, 20_000, 0.1


def size(lab: Any) -> int:
    """Bytes of the store with its write-ahead log folded in."""
    with lab.ledger.store.read() as connection:
        pages, page = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "page_size")
        )
    return pages * page


def saver_bytes(lab: Any, turns: int) -> int:
    """What SqliteSaver writes for the same session."""
    from langgraph.checkpoint.sqlite import SqliteSaver

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        with SqliteSaver.from_conn_string(str(path)) as saver:
            bare(lab, turns, saver)
        return path.stat().st_size


def main() -> int:
    with tiny_lab() as lab:
        ours(lab, 1, "first")
        grown, beside = {}, {}
        for turns in TURNS:
            before = size(lab)
            ours(lab, turns, f"s{turns}")
            grown[turns] = size(lab) - before
            if "--sqlite-saver" in sys.argv:
                beside[turns] = saver_bytes(lab, turns)
    short, long = (grown[t] for t in TURNS)
    bars = {
        f"linear <= {BAR_RATIO}": long / short <= BAR_RATIO,
        f"a turn <= {BAR_BYTES}": long / TURNS[1] <= BAR_BYTES,
    }
    if beside:
        bars[f"share of SqliteSaver <= {BAR_SHARE}"] = long <= BAR_SHARE * beside[TURNS[1]]
    figures = {
        "bytes": grown,
        "bytes a turn": {t: round(b / t) for t, b in grown.items()},
        "sqlite_saver_bytes": beside,
    }
    return show({**figures, "ratio": round(long / short, 3)}, bars)


if __name__ == "__main__":
    sys.exit(main())
