"""The house's contract kit on every tool, on the tiny model, called as a worker would."""

from __future__ import annotations

from typing import Any, ClassVar

from agentkit.testing import ToolCase
from agentkit_weight.bits_tool import bits as bits_tool
from agentkit_weight.curvature_tool import curvature as curvature_tool
from agentkit_weight.finetune_tool import finetune as finetune_tool
from agentkit_weight.landscape_tool import landscape as landscape_tool
from agentkit_weight.module_select_tool import module_select as module_select_tool
from agentkit_weight.rank_sweep_tool import rank_sweep as rank_sweep_tool
from agentkit_weight.sharpness_tool import sharpness as sharpness_tool

TASK: dict[str, Any] = {
    "target": "py:tests.weight.kit:tiny_encoder",
    "data": "py:tests.weight.kit:tiny_data",
    "train_n": 12,
    "test_n": 8,
    "top_layers": 1,
    "epochs": 1,
    "batch": 6,
    "r": 2,
}
SUBJECT: dict[str, Any] = TASK | {"strings": 4}


class TestFinetune(ToolCase):
    tool = finetune_tool
    params: ClassVar = TASK | {"methods": ["mgpo", "zo"], "zo": {"steps": 2, "objective": "f1"}}
    zero: ClassVar = TASK | {"methods": ["ggpo", "sam"], "ggpo": {"sigma": 0, "beta": 0}, "sam": {"rho": 0}}
    n_units = 2


class TestSharpness(ToolCase):
    tool = sharpness_tool
    params: ClassVar = SUBJECT | {"probes": 8, "lanczos": 8}
    n_units = 2


class TestLandscape(ToolCase):
    tool = landscape_tool
    params: ClassVar = SUBJECT | {"grid": 5}
    n_units = 2


class TestRankSweep(ToolCase):
    tool = rank_sweep_tool
    params: ClassVar = TASK | {"ranks": [1, 2, 4], "contrast": [1, 2, 4]}
    n_units = 2


class TestModuleSelect(ToolCase):
    tool = module_select_tool
    params: ClassVar = SUBJECT
    n_units = 2


class TestBits(ToolCase):
    tool = bits_tool
    params: ClassVar = SUBJECT | {"probes": 8, "calib_n": 4, "size_ratio": [0.5]}
    n_units = 2


class TestCurvature(ToolCase):
    tool = curvature_tool
    params: ClassVar = SUBJECT | {"top_layers": 2}
    n_units = 2
