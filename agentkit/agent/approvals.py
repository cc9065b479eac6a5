"""Who may let a call run: a policy by call, tool and size, and answers that hold for the exact arguments only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from agentkit.agent import calls
from agentkit.canon import clean, sha256_of
from agentkit.errors import AgentkitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit.agent.toolbox import Toolbox
    from agentkit.study import ApprovalSection

Mode = Literal["auto", "ask", "deny"]


@dataclass(frozen=True)
class ApprovalRequest:
    """A call that waits for somebody's word. `sha256` names tool, version, arguments and target."""

    call_id: str
    tool: str
    args: Mapping[str, Any]
    sha256: str


@dataclass(frozen=True)
class Approval:
    """Somebody's word on one request: `approve` as it is, `edit` with other arguments, or `reject` with a reason."""

    kind: Literal["approve", "edit", "reject"]
    args: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    by: str = "user"


def mode(policy: ApprovalSection, toolbox: Toolbox, name: str, args: Mapping[str, Any]) -> Mode:
    """What the policy says about one call: run it, ask first, or refuse it."""
    tool = _tool_of(toolbox, name, args)
    call = name if name in calls.CALLS else "explore"
    said: Mode = policy.tools.get(tool) or policy.of(call)
    if said == "ask" and call == "register" and args.get("dry_run") is True:
        return "auto"  # it freezes nothing: it only says what the claim would cost
    if said == "auto" and _is_large(policy, toolbox, tool, args):
        return "ask"
    return said


def may_ask(policy: ApprovalSection) -> bool:
    """Whether any call could need somebody's word."""
    named = [*(policy.of(call) for call in calls.CALLS), *policy.tools.values()]
    over = (policy.units_over, policy.seconds_over, policy.gpu_seconds_over, policy.usd_over)
    return "ask" in named or any(limit is not None for limit in over)


def binding(toolbox: Toolbox, name: str, args: Mapping[str, Any]) -> str:
    """Hash of what an approval holds for: the call, the tool's version, every argument, the target's fingerprint."""
    content: dict[str, Any] = {"call": name, "args": clean(dict(args))}
    tool = _tool_of(toolbox, name, args)
    if tool in toolbox.plugins.tools:
        params = {k: v for k, v in args.items() if k != "units"} if name == tool else args.get("params") or {}
        content |= {"tool": tool, "version": toolbox.plugins.tool(tool).version}
        content |= {
            "source": toolbox.plugins.tool(tool).source_sha256,
            "targets": _targets(toolbox, tool, params),
        }
    return sha256_of(content)


def _targets(toolbox: Toolbox, tool: str, params: Any) -> dict[str, str]:
    """Fingerprints of what would be perturbed; none where the arguments are refused anyway."""
    try:
        values = toolbox.plugins.tool(tool).parse(params).model_dump(mode="json")
        return dict(toolbox.plugins.fingerprints(toolbox.plugins.target_uris(values)))
    except AgentkitError:
        return {}


def _tool_of(toolbox: Toolbox, name: str, args: Mapping[str, Any]) -> str:
    if name in toolbox.plugins.tools or name in toolbox.outside:
        return name
    if isinstance(ref := args.get("hypothesis"), str):
        found = [h.spec.tool for h in toolbox.campaign.hypotheses() if h.ref == ref]
        return found[0] if found else ""
    return str(args.get("tool") or "")


def _is_large(policy: ApprovalSection, toolbox: Toolbox, tool: str, args: Mapping[str, Any]) -> bool:
    if policy.usd_over is not None and toolbox.account.spent("usd") > policy.usd_over:
        return True
    units = args.get("units", 8)
    if tool not in toolbox.plugins.tools or not isinstance(units, int):
        return False
    if policy.units_over is not None and units > policy.units_over:
        return True
    found = toolbox.plugins.tool(tool)
    # as declared: what was measured changes between the question and the call
    seconds = (found.seconds_per_unit or 0.0) * units
    if policy.seconds_over is not None and seconds > policy.seconds_over:
        return True
    gpu_seconds = seconds * found.resources.gpus
    return policy.gpu_seconds_over is not None and gpu_seconds > policy.gpu_seconds_over
