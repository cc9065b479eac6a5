"""Perturb the attention of real models, untouched, head by head.

Nothing heavy is imported here: kernels sit in sibling modules and load when a tool runs.
"""

from __future__ import annotations

from collections.abc import Callable

import agentkit
from agentkit import TargetLoader, Tool


@agentkit.hookimpl
def agentkit_register_tools(register: Callable[[Tool], None]) -> None:
    """Register `attention.*`."""
    from agentkit_attention.explain import explain, mask_regions
    from agentkit_attention.guide import guide
    from agentkit_attention.hunt import hunt
    from agentkit_attention.list_sites import sites
    from agentkit_attention.perturb_heads import perturb_heads
    from agentkit_attention.probe_tools import probe_edit, probe_layers
    from agentkit_attention.screen_heads import screen_heads

    for tool in (
        sites, perturb_heads, screen_heads, guide, hunt, probe_layers, probe_edit, mask_regions, explain,
    ):  # fmt: skip
        register(tool)


@agentkit.hookimpl
def agentkit_register_targets(register: Callable[[TargetLoader], None]) -> None:
    """Register the targets that ship with this plugin."""
    from agentkit_attention.targets import diffusers, digits_dit, digits_judge, hf, minilm, pairs, smollm2

    for target in (minilm, hf, smollm2, pairs, digits_dit, digits_judge, diffusers):
        register(target)


@agentkit.hookimpl
def agentkit_register_commands(register: Callable[..., None]) -> None:
    """Register `agentkit attention hunt`."""
    register("attention", "agentkit_attention.commands:app", help="Hunt for attention heads that guide.")
