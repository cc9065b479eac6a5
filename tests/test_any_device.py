"""Tools that say they compute on any device, on a pretended GPU: nothing left on the CPU, and the CPU's very numbers."""

from __future__ import annotations

import pytest
import torch

from agentkit.plugins import installed_plugins
from agentkit.testing.calling import run_tool
from agentkit.types import Unit
from tests.mcp.quick import quick_params
from tests.pretend_gpu import pretended_gpu

QUICK = quick_params()
SLOW = {"gene.score", "noise.text", "noise.pii"}
HEADS = {"sites": "L4.H0-1", "n": 1, "candidates": 3}
TINY = QUICK["weight.finetune"]
MORE = [
    *(
        ("attention.perturb_heads", HEADS | {"technique": name})
        for name in ("ablate", "identity", "mean_ablate", "resample", "temperature", "uniform", "scale")
    ),
    *(
        ("attention.guide", QUICK["attention.guide"] | {"technique": name})
        for name in ("seg_blur", "uniform")
    ),
    *(
        ("weight.finetune", TINY | {"methods": [name]})
        for name in ("lora", "ggpo", "sam", "asam", "awp_lora")
    ),
    *(
        ("weight.finetune", TINY | {"methods": ["lora"], "noises": [name]})
        for name in ("token_mask", "neftune", "advstyle")
    ),
    ("weight.landscape", QUICK["weight.landscape"] | {"dims": 2}),
    *(("noise.attack", QUICK["noise.attack"] | {"kind": name}) for name in ("fgsm", "uap", "gradient_shift")),
    (
        "noise.purify",
        QUICK["noise.purify"] | {"purifiers": ["blur", "median", "total_variation", "dct", "projection"]},
    ),
    ("noise.bounds", QUICK["noise.bounds"] | {"methods": ["ibp", "crown", "alpha_crown"]}),
    *(("gene.perturb", QUICK["gene.perturb"] | {"physics": name}) for name in ("leap", "cle")),
]


def test_the_pretended_gpu_refuses_what_a_real_one_does():
    with pretended_gpu() as device:
        there = torch.ones(3).to(device)
        assert there.device == (there + 1).device == torch.device(device)
        assert there.cpu().numpy().sum() == 3
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        with pytest.raises(AssertionError, match="draw on the GPU"):
            torch.Generator(device)
        with pytest.raises(RuntimeError, match="device type for generator"):
            torch.rand(3, generator=torch.Generator(), device=device)


def _on_both(name: str, params: dict) -> None:
    tool = installed_plugins().tool(name)
    units = [Unit(index=i, seed=1000 + i) for i in range(2)]
    on_cpu = run_tool(tool, params, units)
    with pretended_gpu() as device:
        on_gpu = run_tool(tool, params, units, device=device)
    assert sorted(on_gpu.rows()) == sorted(on_cpu.rows())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
        for name, tool in installed_plugins().tools.items()
        if tool.any_device
    ],
)  # slow: a real encoder, a simulated reference
def test_a_quick_call_gives_the_same_numbers(name):
    _on_both(name, QUICK[name])


@pytest.mark.parametrize(("name", "params"), MORE)
def test_so_does_every_technique(name, params):
    _on_both(name, params)
