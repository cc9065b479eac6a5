"""`agentkit log`, `verify` and `report`: reading what was recorded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from agentkit.cli.output import emit, table
from agentkit.errors import ConfigError, unknown
from agentkit.ledger import Ledger
from agentkit.ledger.anchor import note
from agentkit.report import render_table, verdict_table, write_report
from agentkit.report.strict import closing_words, unbacked_claims

if TYPE_CHECKING:
    from agentkit.ledger import Campaign
    from agentkit.ledger.values import CampaignRow


def show_log(store: str, *, as_json: bool) -> None:
    """Campaigns, their runs and hypotheses, oldest first."""
    with Ledger(store, readonly=True) as ledger:
        campaigns = [ledger.reopen(row.key) for row in ledger.campaigns()]
        data = [_campaign_log(c) for c in campaigns]
    emit(data, "\n\n".join(_log_text(c) for c in data) or "nothing is recorded yet", as_json=as_json)


def verify_store(store: str, *, anchor: str | None, anchor_to: str | None, as_json: bool) -> None:
    """Recompute everything that can be recomputed; an error names the first bad row. `anchor_to` notes the heads."""
    with Ledger(store, readonly=True) as ledger:
        report = ledger.verify(anchor=anchor)
    heads = "\n".join(f"head {key}: {head}" for key, head in report.heads.items())
    text = (
        f"ok: {report.events} events, {report.hypotheses} hypotheses, {report.units} units, "
        f"{report.verdicts} verdicts recomputed\n{heads}"
    )
    lines = [text, *report.notes]
    if anchor_to is not None:
        lines.append(f"noted in {note(report.heads, anchor_to)}")
    emit(asdict(report), "\n".join(lines), as_json=as_json)


def write_campaign_report(
    store: str, *, campaign: str | None, folder: Path | None, strict: bool, as_json: bool
) -> None:
    """Write both reports of one campaign and print its verdict table.

    `strict`: exit 1, and list them, when the report or the planner's closing words claim what no verdict says.
    """
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
        prose = {str(paths.markdown): paths.markdown.read_text(encoding="utf-8")} | closing_words(chosen)
        labels = {h.ref: "open" for h in chosen.hypotheses()} | {
            str(r["verdict"]): str(r["label"]) for r in rows
        }
    data: dict[str, Any] = {"verdicts": rows, "report": str(paths.markdown), "html": str(paths.html)}
    lines = [render_table(rows), f"report  {paths.markdown}", f"report  {paths.html}"]
    if strict:
        data["unbacked"] = [
            {"place": place, "line": line, "why": why}
            for place, text in prose.items()
            for line, why in unbacked_claims(text, labels)
        ]
        lines += [f"{c['place']}: {c['line']}\n    {c['why']}" for c in data["unbacked"]]
    emit(data, "\n".join(lines), as_json=as_json)
    if data.get("unbacked"):
        raise typer.Exit(1)


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
