"""The contract of a tool without a test file: each rule with what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agentkit.testing.tool_case import ToolCase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit.tools import Tool

REASON_CHARACTERS = 200


def contract_results(tool: Tool, params: Mapping[str, Any]) -> list[dict[str, str]]:
    """Each rule of `ToolCase` on one tool: `rule`, `result` (ok, failed, skipped) and `reason`.

    Args:
        tool: the tool.
        params: params of a quick call; the tool's own defaults where it is empty.
    """
    case = type("Case", (ToolCase,), {"tool": tool, "params": dict(params)})()
    rules = [name for name in vars(ToolCase) if name.startswith("test_")]
    return [{"rule": rule.removeprefix("test_").replace("_", " "), **_tried(case, rule)} for rule in rules]


def _tried(case: ToolCase, rule: str) -> dict[str, str]:
    try:
        getattr(case, rule)()
    except pytest.skip.Exception as skipped:
        return {"result": "skipped", "reason": str(skipped)}
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - a tool under test may raise anything
        said = str(error).strip() or "the rule does not hold"
        return {
            "result": "failed",
            "reason": f"{type(error).__name__}: {' '.join(said.split())}"[:REASON_CHARACTERS],
        }
    return {"result": "ok", "reason": ""}
