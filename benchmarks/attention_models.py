"""Perturbed-attention guidance on four diffusion transformers: diffusers' own hooks against ours.

    python benchmarks/attention_models.py

Tiny random models of the real classes. For each: does the PAG hook of diffusers run, does its SEG honour
a finite sigma, and does ours perturb a single head, at half strength, and blur at a finite sigma?
The bar: ours on four of four.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from agentkit_attention.edits import Condition, edited_pass, whole_batch
from agentkit_attention.models import describe
from agentkit_attention.techniques import EditState

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.attention import zoo

if TYPE_CHECKING:
    from torch import Tensor, nn

    from agentkit_attention.models import Described

MOVED = 1e-6


def ours(
    model: nn.Module, described: Described, inputs: dict[str, Any], technique: str, strength: float
) -> Tensor:
    """The model's output with one head perturbed."""
    head = next(h for h in described.table.heads if h.site.queries == h.site.keys)
    rows = len(inputs["hidden_states"])
    edits = whole_batch(Condition("one", (head,), technique, strength), rows)
    state = EditState(image_rows=described.rows)
    out = edited_pass(model, described.table, edits, lambda: model(**inputs), state, torch.arange(rows))
    sample: Tensor = out.sample
    return sample


def diffusers_pag(model: nn.Module, inputs: dict[str, Any]) -> str:
    """What diffusers' layer-skip hook does with attention scores of the first block."""
    from diffusers.hooks.layer_skip import LayerSkipConfig, _apply_layer_skip_hook

    config = LayerSkipConfig(
        indices=[0], fqn="transformer_blocks", skip_attention=False, skip_attention_scores=True, skip_ff=False
    )
    copied = copy.deepcopy(model)
    try:
        _apply_layer_skip_hook(copied, config, "skip")
        moved = (copied(**inputs).sample - model(**inputs).sample).abs().max()
    except (ValueError, AttributeError) as error:
        return f"fails ({type(error).__name__})"
    return "runs, whole layer, strength 1 only" if moved > MOVED else "silently does nothing"


def main() -> None:
    torch.set_grad_enabled(False)
    passed = 0
    for name in zoo.DIFFUSION:
        model, inputs = zoo.diffusion_model(name)
        described = describe(zoo.Wrapped(model, inputs))
        untouched = model(**inputs).sample
        works = []
        for technique, strength in (
            ("identity", 0.5),
            ("identity", 1.0),
            ("seg_blur", 0.7),
            ("uniform", 0.5),
        ):
            out = ours(model, described, inputs, technique, strength)
            works.append(bool((out - untouched).abs().max() > MOVED))
        same = torch.equal(model(**inputs).sample, untouched)
        passed += all(works) and same
        verdict = (
            "one head, half and full identity, finite blur, uniform" if all(works) else f"failed {works}"
        )
        print(
            f"{name:7} diffusers PAG hook: {diffusers_pag(model, inputs):36} ours: {verdict}; model untouched {same}"
        )
    print(f"{passed} of {len(zoo.DIFFUSION)} (bar {len(zoo.DIFFUSION)})")
    raise SystemExit(passed != len(zoo.DIFFUSION))


if __name__ == "__main__":
    main()
