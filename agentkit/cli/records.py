"""`agentkit log`, `verify` and `report`: reading what was recorded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.cli.output import emit, table
from agentkit.errors import ConfigError, unknown
from agentkit.ledger import Ledger
from agentkit.report import render_table, verdict_table, write_report

if TYPE_CHECKING:
    from agentkit.ledger import Campaign
    from agentkit.ledger.values import CampaignRow


def show_log(store: str, *, as_json: bool) -> None:
    """Campaigns, their runs and hypotheses, oldest first."""
    with Ledger(store, readonly=True) as ledger:
        campaigns = [ledger.reopen(row.key) for row in ledger.campaigns()]
        data = [_campaign_log(c) for c in campaigns]
    emit(data, "\n\n".join(_log_text(c) for c in data) or "nothing is recorded yet", as_json=as_json)


def verify_store(store: str, *, anchor: str | None, as_json: bool) -> None:
    """Recompute everything that can be recomputed; an error names the first bad row."""
    with Ledger(store, readonly=True) as ledger:
        report = ledger.verify(anchor=anchor)
    heads = "\n".join(f"head {key}: {head}" for key, head in report.heads.items())
    text = (
        f"ok: {report.events} events, {report.hypotheses} hypotheses, {report.units} units, "
        f"{report.verdicts} verdicts recomputed\n{heads}"
    )
    emit(asdict(report), "\n".join([text, *report.notes]), as_json=as_json)


def write_campaign_report(store: str, *, campaign: str | None, folder: Path | None, as_json: bool) -> None:
    """Write both reports of one campaign and print its verdict table."""
    with Ledger(store, readonly=True) as ledger:
        chosen = ledger.reopen(_only_campaign(ledger, campaign).key)
        plans = chosen.decisions("planner")
        target = folder or (ledger.store.path.parent if ledger.store.path else Path())
        target.mkdir(parents=True, exist_ok=True)
        latest = plans[-1] if plans else {}
        paths = write_report(
            chosen, target, planner=latest.get("planner", "none"), goal=latest.get("goal", "")
        )
        rows = verdict_table(chosen)
    data = {"verdicts": rows, "report": str(paths.markdown), "html": str(paths.html)}
    emit(data, f"{render_table(rows)}\nreport  {paths.markdown}\nreport  {paths.html}", as_json=as_json)


def _only_campaign(ledger: Ledger, name: str | None) -> CampaignRow:
    rows = {row.key: row for row in ledger.campaigns()}
    if name is None and len(rows) == 1:
        return next(iter(rows.values()))
    if name is None:
        raise ConfigError(
            f"{ledger.url} holds {len(rows)} campaigns ({', '.join(rows)}); name one with --campaign"
        )
    if name not in rows:
        raise ConfigError(unknown("campaign", name, rows))
    return rows[name]


def _campaign_log(campaign: Campaign) -> dict[str, Any]:
    labels = {row.ref: row.label for row in campaign.verdicts()}
    return {
        "campaign": campaign.key,
        "alpha": campaign.alpha,
        "max_hypotheses": campaign.max_hypotheses,
        "seed_origin": campaign.seed_origin,
        "head": campaign.head(),
        "runs": [
            {
                "run": run.ref,
                "phase": run.phase,
                "tool": run.tool,
                "hypothesis": f"H{run.hypothesis_id}" if run.hypothesis_id else None,
                "units": len(run.units),
                "answered": len(run.answered()),
                "attempts": len(run.attempts()),
            }
            for run in campaign.runs()
        ],
        "hypotheses": [
            {
                "hypothesis": h.ref,
                "state": h.state,
                "tool": h.spec.tool,
                "metric": h.spec.metric,
                "contrast": h.spec.contrast,
                "direction": h.spec.direction,
                "null": h.spec.null,
                "sesoi": h.spec.sesoi,
                "label": labels.get(h.ref),
            }
            for h in campaign.hypotheses()
        ],
    }


def _log_text(data: dict[str, Any]) -> str:
    title = (
        f"campaign {data['campaign']}: alpha {data['alpha']:g}, max_hypotheses {data['max_hypotheses']}, "
        f"root seed {data['seed_origin']}"
    )
    runs = table(
        [
            (
                r["run"],
                r["phase"],
                r["tool"],
                r["hypothesis"] or "",
                f"{r['answered']}/{r['units']}",
                str(r["attempts"]),
            )
            for r in data["runs"]
        ],
        ("run", "phase", "tool", "hypothesis", "units", "attempts"),
    )
    claims = table(
        [
            (
                h["hypothesis"],
                h["state"],
                h["metric"],
                _contrast(h["contrast"]),
                h["direction"],
                h["label"] or "",
            )
            for h in data["hypotheses"]
        ],
        ("hypothesis", "state", "metric", "contrast", "direction", "label"),
    )
    return "\n".join([title, "", runs, "", claims, "", f"head {data['head']}"])


def _contrast(contrast: dict[str, float]) -> str:
    return " ".join(f"{k:+g}*{c}" for c, k in contrast.items())
