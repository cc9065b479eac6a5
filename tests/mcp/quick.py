"""Quick params of every installed tool: those of the plugins' own contract cases, and a few where there is none."""

from __future__ import annotations

import importlib
import inspect

from agentkit.testing import ToolCase

CASES = ("tests.attention.test_tool_cases", "tests.input_noise.test_contract", "tests.weight.test_contract")
WITHOUT_A_CASE = {
    "attention.probe_layers": {"n": 80},  # their own cases draw so few texts that a class may be missing
    "attention.probe_edit": {"n": 80, "min_acc": 0.5},
    "attention.hunt": {"n": 4, "k": 1, "search_n": 2, "steps": 2, "sites": "L0.H0-1", "features": None},
    "gene.features": {"target": "screen:sim?genes=200"},
    "gene.loop": {"target": "screen:sim?genes=200", "pickers": ["prior"], "rounds": 1, "batch": 8},
    "gene.next": {"target": "screen:sim?genes=200", "batch": 4},
    "gene.map": {"target": "grn:ffl10"},
    "gene.perturb": {"target": "grn:toggle", "perturb": ["KD:A@0.7"], "readout": "B", "cells": 16},
    "gene.score": {
        "target": "grn:ffl10",
        "truth": {"kind": "KO", "order": 1, "genes": "regulators", "cells": 20},
    },
    "gene.screen": {"target": "grn:ffl10", "readout": "G", "genes": ["A", "C"], "cells": 16},
}
SLOW = {
    "noise.asr": "a real recogniser",
    "noise.text": "a real encoder",
    "gene.score": "simulates a reference",
}
"""Tools whose quickest call takes many seconds; called under the marker `slow`."""


def quick_params() -> dict[str, dict]:
    """Params by tool name; tools that are not here have no quick call that anybody has declared."""
    found = {}
    for module in CASES:
        for _, case in inspect.getmembers(importlib.import_module(module), inspect.isclass):
            if issubclass(case, ToolCase) and hasattr(case, "tool"):
                found[case.tool.name] = dict(case.params)
    return {**found, **WITHOUT_A_CASE}
