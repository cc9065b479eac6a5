"""What a store holds, as plain rows: one SELECT per kind on a connection that can only read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agentkit.errors import LedgerError, unknown
from agentkit.ledger.campaign import most_hypotheses

if TYPE_CHECKING:
    from agentkit.ledger.ledger import Ledger

Row = dict[str, Any]

_SELECT = {
    "campaigns": """
        SELECT c.key AS campaign, c.alpha, c.max_hypotheses, c.procedure, c.seed_origin, c.created_at,
               (SELECT COUNT(*) FROM hypothesis h WHERE h.campaign = c.id) AS hypotheses,
               (SELECT COUNT(*) FROM hypothesis h WHERE h.campaign = c.id AND h.state = 'closed') AS closed,
               (SELECT COUNT(*) FROM run r WHERE r.campaign = c.id) AS runs
        FROM campaign c""",
    "hypotheses": """
        SELECT 'H' || h.id AS hypothesis, c.key AS campaign, h.state, h.tool, h.metric, h.spec_json AS contrast,
               h.direction, h."null", h.sesoi, h.max_units, v.label, h.close_reason, h.claim_text AS claim
        FROM hypothesis h JOIN campaign c ON c.id = h.campaign
        LEFT JOIN (SELECT hypothesis, MAX(id) AS id FROM verdict GROUP BY hypothesis) n ON n.hypothesis = h.id
        LEFT JOIN verdict v ON v.id = n.id""",
    "runs": """
        SELECT 'R' || r.id AS run, c.key AS campaign, r.phase, r.tool, 'H' || r.hypothesis AS hypothesis,
               u.n AS units, COALESCE(a.n, 0) AS answered, COALESCE(a.failed, 0) AS failed, r.created_at,
               r.params_json AS params
        FROM run r JOIN campaign c ON c.id = r.campaign
        LEFT JOIN (SELECT run, COUNT(*) AS n FROM run_unit GROUP BY run) u ON u.run = r.id
        LEFT JOIN (SELECT run, COUNT(*) AS n, SUM(CASE WHEN status = 'ok' THEN 0 ELSE 1 END) AS failed
                   FROM outcome GROUP BY run) a ON a.run = r.id""",
    "verdicts": """
        SELECT 'H' || v.hypothesis AS hypothesis, c.key AS campaign, h.tool, h.metric, v.label, v.estimate, v.lo, v.hi,
               v.units, v.failed, v.level, v.reason
        FROM verdict v JOIN (SELECT hypothesis, MAX(id) AS id FROM verdict GROUP BY hypothesis) n ON n.id = v.id
        JOIN hypothesis h ON h.id = v.hypothesis JOIN campaign c ON c.id = h.campaign""",
    "failures": """
        SELECT 'R' || o.run AS run, c.key AS campaign, r.tool, o.unit, o.status, o.message
        FROM outcome o JOIN run r ON r.id = o.run JOIN campaign c ON c.id = r.campaign""",
}
_VERDICTS_OF = (
    "SELECT id, label, estimate, lo, hi, units, failed, level, log_e, reason FROM verdict WHERE hypothesis ="
)
_ORDER = {"campaigns": "c.id", "hypotheses": "h.id", "runs": "r.id", "verdicts": "h.id", "failures": "o.id"}
_ONLY = {"failures": "o.status <> 'ok'"}
KINDS = tuple(_SELECT)
MOST_LISTED = 100_000


def rows(ledger: Ledger, kind: str, *, campaign: str | None = None, limit: int | None = None) -> list[Row]:
    """Rows of one kind, oldest first; with `limit` the newest so many.

    Raises:
        LedgerError: an unknown kind or campaign.
    """
    if kind not in _SELECT:
        raise LedgerError(unknown("kind of row", kind, KINDS))
    conditions = [_ONLY[kind]] if kind in _ONLY else []
    if campaign is not None:
        conditions.append(f"c.id = {_campaign_id(ledger, campaign)}")
    parts = [_SELECT[kind], *(["WHERE", " AND ".join(conditions)] if conditions else [])]
    parts += ["ORDER BY", _ORDER[kind], "DESC", *([f"LIMIT {limit:d}"] if limit is not None else [])]
    found = ledger.query(" ".join(parts), most_rows=MOST_LISTED)
    if kind == "campaigns":  # how many claims it may hold is "open" or a number
        most = {row.key: row.max_hypotheses for row in ledger.campaigns()}
        found = [{**row, "max_hypotheses": most[row["campaign"]]} for row in found]
    return [_readable(row) for row in reversed(found)]


def one(ledger: Ledger, kind: str, ref: str) -> Row:
    """Everything worth knowing about one campaign, hypothesis, run or verdict.

    Args:
        ledger: an open store.
        kind: one of `campaigns`, `hypotheses`, `runs`, `verdicts`.
        ref: a campaign's name, `H3`, or `R7`; a verdict is named by its hypothesis.
    """
    if kind == "campaigns":
        _campaign_id(ledger, ref)
        (row,) = [c for c in rows(ledger, kind) if c["campaign"] == ref]
        return {**row, "head": ledger.reopen(ref).head()}
    if kind == "runs":
        return _run(ledger, ref)
    hypothesis = ledger.hypothesis(ref)
    (row,) = [
        h
        for h in rows(ledger, "hypotheses", campaign=hypothesis.campaign.key)
        if h["hypothesis"] == hypothesis.ref
    ]
    verdicts = ledger.query(f"{_VERDICTS_OF} {hypothesis.id:d} ORDER BY id")
    if kind == "verdicts":
        if not verdicts:
            raise LedgerError(
                f"{hypothesis.ref} has no verdict yet: it is {hypothesis.state}; confirm and close it"
            )
        return {"hypothesis": hypothesis.ref, "claim": row, **verdicts[-1], "earlier": verdicts[:-1]}
    own = [
        r["run"]
        for r in rows(ledger, "runs", campaign=hypothesis.campaign.key)
        if r["hypothesis"] == hypothesis.ref
    ]
    return {**row, "spec": hypothesis.spec.model_dump(mode="json"), "verdicts": verdicts, "runs": own}


def _run(ledger: Ledger, ref: str) -> Row:
    run = ledger.run(ref)
    statuses = run.outcomes()
    measured = run.measurements().rows() if "ok" in statuses.values() else []
    return {
        "run": run.ref,
        "campaign": run.campaign.key,
        "phase": run.phase,
        "hypothesis": None if run.hypothesis_id is None else f"H{run.hypothesis_id}",
        "tool": run.tool,
        "version": run.tool_version,
        "params": run.params,
        "targets": run.targets,
        "conditions": run.conditions,
        "units": [{"unit": u.index, "seed": str(u.seed), "status": statuses.get(u.index)} for u in run.units],
        "failures": [{"unit": unit, "message": text} for unit, text in run.failures().items()],
        "attempts": [{"fence": a.fence, "worker": a.worker, "status": a.status, "error": a.error} for a in run.attempts()],
        "measurements": [dict(zip(("unit", "condition", "metric", "value"), row, strict=True)) for row in measured],
    }  # fmt: skip


def _campaign_id(ledger: Ledger, name: str) -> int:
    ids = {row.key: row.id for row in ledger.campaigns()}
    if name not in ids:
        raise LedgerError(unknown("campaign", name, ids))
    return ids[name]


def _readable(row: Row) -> Row:
    if "procedure" in row:
        row["max_hypotheses"] = most_hypotheses(row)
        del row["procedure"]
    if "params" in row:
        row["params"] = json.loads(row["params"])
    if "contrast" in row:
        row["contrast"] = json.loads(row["contrast"])["contrast"]
    return row
