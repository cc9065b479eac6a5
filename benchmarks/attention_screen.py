"""The first-order screen of all MiniLM heads against measuring them exactly, on address matching.

    python benchmarks/attention_screen.py [--units 5]

CPU time, one thread, each unit interleaved. The bars: at least 15 times faster than a forward per head, and
on average at least nine of the ten heads with the largest exact effect among the screen's first twenty.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from agentkit import Unit
from agentkit.plugins import installed_plugins
from agentkit.seeds import unit_seed
from agentkit_attention.minilm import pooled
from agentkit_attention.models import describe
from agentkit_attention.perturb_heads_run import conditions_of
from agentkit_attention.questions import ask, linkage_scores
from agentkit_attention.screen_heads import ScreenHeads
from agentkit_attention.screen_run import approximate_effects
from agentkit_attention.sweep import HeadSweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from agentkit_attention.edits import Condition
    from agentkit_attention.questions import Question
    from agentkit_attention.sites import SiteTable

SPEED_BAR, RECALL_BAR = 15.0, 0.9


def timed(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """CPU seconds and result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def exact_effects(
    encoder: Any, table: SiteTable, question: Question, conditions: list[Condition], engine: str
) -> Tensor:
    """Change of the margin under each condition, measured."""
    embeddings = HeadSweep(encoder.model, table).run(
        question.inputs, question.n_texts, conditions,
        lambda output, rows: pooled(output.last_hidden_state, question.keep[rows]), engine=engine,
    )  # fmt: skip
    margin = linkage_scores(embeddings.double(), len(question.answers), question.answers)["margin"]
    return margin[1:] - margin[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--units", type=int, default=5)
    count = parser.parse_args().units
    torch.set_num_threads(1)
    plugins = installed_plugins()
    encoder, data = (plugins.loader(uri)[0].load("", "cpu") for uri in ("minilm:", "addresses:"))
    params, table = ScreenHeads(n=4, candidates=4), describe(encoder).table
    conditions = conditions_of(params, table)
    against_loop, against_sweep, recalls, ranks = [], [], [], []
    for index in range(-1, count):  # the first only warms up
        unit = Unit(index=index + 1, seed=unit_seed("benchmark", "explore", "attention_screen", index + 1))
        question = ask(params, unit, encoder, data, table)

        screen_s, approx = timed(partial(approximate_effects, encoder, table, question, conditions))
        loop_s, effect = timed(partial(exact_effects, encoder, table, question, conditions, "loop"))
        sweep_s, _ = timed(partial(exact_effects, encoder, table, question, conditions, "spawn"))
        if index < 0:
            continue
        top = set(effect.abs().topk(10).indices.tolist())
        recalls.append(len(top & set(approx.abs().topk(20).indices.tolist())) / 10)
        ranks.append(
            float(
                torch.corrcoef(torch.stack([a.argsort().argsort().double() for a in (approx, effect)]))[0, 1]
            )
        )
        against_loop.append(loop_s / screen_s)
        against_sweep.append(sweep_s / screen_s)
        print(
            f"unit {index}: screen {screen_s:.2f} s, loop {loop_s:.2f} s, one-pass sweep {sweep_s:.2f} s, "
            f"recall of top 10 in top 20 {recalls[-1]:.1f}, rank correlation {ranks[-1]:.3f}"
        )
    speed, recall = statistics.median(against_loop), statistics.mean(recalls)
    print(
        f"{speed:.1f}x a forward per head (bar {SPEED_BAR:g}x), {statistics.median(against_sweep):.1f}x the one-pass "
        f"sweep, mean recall {recall:.2f} (bar {RECALL_BAR:g}), {count} units"
    )
    raise SystemExit(not (speed >= SPEED_BAR and recall >= RECALL_BAR))


if __name__ == "__main__":
    main()
