"""Perturbing weights: to train, to compress, to understand. Tools register as `weight.NAME`."""

from __future__ import annotations

from collections.abc import Callable

from agentkit import Tool, hookimpl


@hookimpl
def agentkit_register_tools(register: Callable[[Tool], None]) -> None:
    """Register the tools; the kernels are imported when a tool runs."""
    from agentkit_weight.bits_tool import bits
    from agentkit_weight.curvature_tool import curvature
    from agentkit_weight.finetune_tool import finetune
    from agentkit_weight.landscape_tool import landscape
    from agentkit_weight.module_select_tool import module_select
    from agentkit_weight.rank_sweep_tool import rank_sweep
    from agentkit_weight.sharpness_tool import sharpness
    from agentkit_weight.zo_replay_tool import zo_replay

    for each in (finetune, zo_replay, sharpness, landscape, rank_sweep, module_select, bits, curvature):
        register(each)
