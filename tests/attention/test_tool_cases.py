"""The house's contract, run on every tool of this plugin with its real targets."""

from __future__ import annotations

from typing import ClassVar

import pytest

from agentkit.testing import ToolCase
from agentkit_attention.explain import explain, mask_regions
from agentkit_attention.guide import guide
from agentkit_attention.list_sites import sites
from agentkit_attention.perturb_heads import perturb_heads
from agentkit_attention.probe_tools import probe_edit, probe_layers
from agentkit_attention.screen_heads import screen_heads

DRAW = {"n": 4, "steps": 2, "features": None, "sets": {"a": ["L1.H0", "L4.H1"]}}


class TestSites(ToolCase):
    tool = sites


class TestPerturbHeads(ToolCase):
    tool = perturb_heads
    params: ClassVar = {"sites": "L4.H0-3", "technique": "noise"}
    zero: ClassVar = {"sites": "L4.H0-1", "technique": "noise", "strength": 0}


class TestScreenHeads(ToolCase):
    tool = screen_heads
    params: ClassVar = {"sites": "L5.*", "technique": "uniform", "strength": 0.5}


class TestGuide(ToolCase):
    tool = guide
    params: ClassVar = DRAW | {"random_k": 2}
    zero: ClassVar = DRAW | {"u": 0}
    n_units = 2


class TestProbeLayers(ToolCase):
    tool = probe_layers
    params: ClassVar = {"layers": "L1", "n": 40}
    n_units = 2


@pytest.mark.slow  # twelve calls that fit probes on every one: about 15 CPU seconds
class TestProbeEdit(ToolCase):
    tool = probe_edit
    params: ClassVar = {"layers": "L4", "n": 40, "min_acc": 0.5, "test": 0.4}
    n_units = 2


class TestMaskRegions(ToolCase):
    tool = mask_regions
    params: ClassVar = {"share": [0.25, 0.5]}
    zero: ClassVar = {"share": [0]}


class TestExplain(ToolCase):
    tool = explain
    params: ClassVar = {"methods": ["occlusion", "rise"], "masks": 100, "n": 2}
