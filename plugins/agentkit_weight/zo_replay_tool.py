"""`weight.zo_replay`: rebuild what a byte log trained, or what it would be without some workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit


class ZoReplay(Params):
    """Which log, and which branches of it."""

    log: Annotated[str, Field(description="byte log of weight.finetune with zo: sha256:HEX, or a path")]
    until: Annotated[int | None, Field(ge=0, description="replay only so many steps")] = None
    drop_workers: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...], Field(description="a branch without these workers' bytes")
    ] = ()
    only_workers: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...], Field(description="a branch of these workers' bytes alone")
    ] = ()
    verify: Annotated[bool, Field(description="stop when a recorded digest is not met")] = True


@agentkit.tool(
    name="weight.zo_replay",
    version="1",
    metrics=[
        Metric("digest_equal", 0, 1),
        Metric("accuracy_clean", 0, 1),
        Metric("accuracy_typo", 0, 1),
        Metric("macro_f1_clean", 0, 1),
        Metric("macro_f1_typo", 0, 1),
        Metric("exact_clean", 0, 1),
        Metric("exact_typo", 0, 1),
        Metric("loss", 0, None, higher_is_better=False),
    ],
    resources=Resources(memory=3 << 30),
    seconds_per_unit=60,
    explore_only=True,
)
def zo_replay(params: ZoReplay, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Rebuild zeroth-order training from base weights and byte log alone, and branch it.

    `baseline` is the base model under its head; `replay` the log, whole or `until` a step; `drop:2` the same
    without worker 2's bytes, `only:0` with worker 0's alone. Dropping bytes is not unlearning: later bytes were
    measured on weights that had seen that worker. `digest_equal` is 1 when the recorded weights are met
    bit for bit (absent for branches, which have no record). The audit table counts each worker's bytes.
    """
    from agentkit_weight.zo_replay import run

    return run(params, units, ctx)
