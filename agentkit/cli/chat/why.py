"""`/why ID`: what a hypothesis, a verdict or a run rests on, from the rows of the ledger alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from agentkit.agent.answers import formula
from agentkit.cli.chat.numbers import shown
from agentkit.cli.chat.saved import saved_line
from agentkit.errors import ConfigError, LedgerError, unknown
from agentkit.report import verdict_table

if TYPE_CHECKING:
    from agentkit.cli.chat.conversation import Conversation
    from agentkit.ledger import Hypothesis, Run


def why(conversation: Conversation, ref: str) -> tuple[str, dict[str, Any]]:
    """Text and data about `H3`, `V3` or `R7`.

    Raises:
        ConfigError: no id of that kind. LedgerError: nothing has that id; what there is, is named.
    """
    match = re.fullmatch(r"([HVRhvr])(\d+)(?:\.\d+)?", ref.strip())
    if match is None:
        raise ConfigError(f"/why {ref}: write the id of a hypothesis (H3), a verdict (V3) or a run (R7)")
    kind, number = match[1].upper(), int(match[2])
    if kind == "R":
        runs = {r.ref: r for r in conversation.campaign.runs()}
        return _run(_found("run", f"R{number}", runs), conversation)
    claims = {h.ref: h for h in conversation.campaign.hypotheses()}
    return _hypothesis(_found("hypothesis", f"H{number}", claims), conversation)


def ids(conversation: Conversation) -> list[str]:
    """Everything `/why` knows, for completion."""
    campaign = conversation.campaign
    return [*(h.ref for h in campaign.hypotheses()), *(r.ref for r in campaign.runs())]


def _found(kind: str, ref: str, known: dict[str, Any]) -> Any:
    if ref not in known:
        raise LedgerError(unknown(kind, ref, known))
    return known[ref]


def _hypothesis(hypothesis: Hypothesis, conversation: Conversation) -> tuple[str, dict[str, Any]]:
    spec, campaign = hypothesis.spec, conversation.campaign
    campaign.verdicts()
    row = next(r for r in verdict_table(campaign) if r["hypothesis"] == hypothesis.ref)
    runs = [r for r in campaign.runs("confirm") if r.hypothesis_id == hypothesis.id]
    approved = [
        c
        for c in conversation.session.record.calls().values()
        if c.tool == "register" and c.decision != "auto"
    ]
    said = [c for c in approved if (c.edited or c.args).get("metric") == spec.metric and c.status == "ok"]
    lines = [
        f"{hypothesis.ref} is {hypothesis.state}: {formula(spec)}",
        f"  {row['sentence']}",
        f"  frozen   spec {spec.sha256[:12]}… before its {row['units']} units existed; sesoi {shown(spec.sesoi)}, "
        f"test {spec.test}, at most {spec.max_units} units",
        f"  rests on {', '.join(r.ref for r in runs) or 'no run yet'}: {spec.tool} v{spec.tool_version} "
        f"({spec.distribution} {spec.distribution_version}, source {spec.source_sha256[:12]}…)",
        *(f"  target   {uri} {fingerprint[:16]}…" for uri, fingerprint in spec.targets.items()),
        f"  seeds    derived from the frozen claim and the campaign's root ({campaign.seed_origin}); never shown",
    ]
    lines += [f"  approved by {c.decided_by} ({c.decision})" for c in said[-1:]]
    lines.append(
        f"  again    agentkit replay {conversation.settings.store} --hypothesis {hypothesis.ref}   "
        f"check all: agentkit verify {conversation.settings.store}"
    )
    data = {**row, "spec": spec.model_dump(mode="json"), "runs": [r.ref for r in runs]}
    return "\n".join(lines), data


def _run(run: Run, conversation: Conversation) -> tuple[str, dict[str, Any]]:
    outcomes = run.outcomes()
    ok = sum(status == "ok" for status in outcomes.values())
    purpose = "exploratory, never evidence" if run.phase == "explore" else f"confirms H{run.hypothesis_id}"
    lines = [
        f"{run.ref} ({run.phase}; {purpose}): {run.tool} v{run.tool_version}",
        f"  params   {', '.join(f'{k} {v}' for k, v in run.params.items())}",
        f"  units    {len(run.units)} asked, {ok} measured, {len(outcomes) - ok} failed",
        *(f"  target   {uri} {fingerprint[:16]}…" for uri, fingerprint in run.targets.items()),
        f"  attempts {'; '.join(f'{a.worker}: {a.status}' for a in run.attempts()) or 'none: known from before'}",
    ]
    files = conversation.saved(run.ref)
    if line := saved_line([{"run": run.ref, "artifacts": files}]):
        lines.append(f"  saved    {line}")
    data = {
        "run": run.ref,
        "phase": run.phase,
        "tool": run.tool,
        "params": run.params,
        "units": len(run.units),
    }
    return "\n".join(lines), {**data, "measured": ok, "artifacts": files}
