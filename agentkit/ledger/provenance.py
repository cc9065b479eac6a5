"""The crate's metadata: RO-Crate 1.1 for what lies where, PROV terms for what was made by whom from what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentkit.ledger import models
from agentkit.ledger.campaign import most_hypotheses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONTEXT = ["https://w3id.org/ro/crate/1.1/context", {"prov": "http://www.w3.org/ns/prov#"}]
CONFORMS = {"@id": "https://w3id.org/ro/crate/1.1"}

CAMPAIGN, HYPOTHESIS, RUN, VERDICT = (
    models.table(m)
    for m in (models.CampaignTable, models.HypothesisTable, models.RunTable, models.VerdictTable)
)

Entity = dict[str, Any]


def crate_metadata(
    connection: sa.Connection, files: Mapping[str, Mapping[str, Any]], heads: Mapping[str, str]
) -> dict[str, Any]:
    """JSON-LD of the crate: its files with their hashes, campaigns, claims, runs, verdicts and the tools behind them."""
    made = [
        *_campaigns(connection, heads),
        *_agents(connection),
        *_claims(connection),
        *_runs(connection),
        *_verdicts(connection),
    ]
    started = connection.execute(sa.select(sa.func.max(CAMPAIGN.c.created_at))).scalar_one()
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": "agentkit ledger",
        "description": "Perturbation experiments: frozen claims, their units and verdicts, with the chain that seals them.",
        "datePublished": started or "1970-01-01",
        "hasPart": [{"@id": name} for name in sorted(files)],
        "mentions": [{"@id": entity["@id"]} for entity in made],
    }
    about = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": CONFORMS,
        "about": {"@id": "./"},
    }
    described: list[Entity] = [
        {"@id": name, "@type": "File", "name": name} | dict(files[name]) for name in sorted(files)
    ]
    return {"@context": CONTEXT, "@graph": [about, root, *described, *made]}


def _campaigns(connection: sa.Connection, heads: Mapping[str, str]) -> Iterator[Entity]:
    for row in connection.execute(sa.select(CAMPAIGN).order_by(CAMPAIGN.c.id)).mappings():
        yield {
            "@id": f"#C{row['id']}",
            "@type": ["CreativeWork", "prov:Plan"],
            "name": row["key"],
            "description": f"alpha {row['alpha']:g}, max_hypotheses {most_hypotheses(dict(row))}, root {row['seed_origin']}",
            "dateCreated": row["created_at"],
            "identifier": heads[row["key"]],
        }


def _agent(distribution: str, version: str) -> str:
    return f"#agent-{distribution}-{version}".replace(" ", "-")


def _agents(connection: sa.Connection) -> Iterator[Entity]:
    query = sa.select(RUN.c.distribution, RUN.c.distribution_version).distinct()
    for distribution, version in sorted(tuple(row) for row in connection.execute(query)):
        yield {
            "@id": _agent(distribution, version),
            "@type": ["SoftwareApplication", "prov:SoftwareAgent"],
            "name": distribution,
            "softwareVersion": version,
        }


def _claims(connection: sa.Connection) -> Iterator[Entity]:
    query = sa.select(HYPOTHESIS).where(HYPOTHESIS.c.state != "draft").order_by(HYPOTHESIS.c.id)
    for row in connection.execute(query).mappings():
        yield {
            "@id": f"#H{row['id']}",
            "@type": ["CreativeWork", "prov:Entity"],
            "name": row["claim_text"] or f"{row['tool']}: {row['metric']} {row['direction']} {row['null']:g}",
            "identifier": row["spec_sha256"],
            "dateCreated": row["frozen_at"],
            "isPartOf": {"@id": f"#C{row['campaign']}"},
        }


def _runs(connection: sa.Connection) -> Iterator[Entity]:
    for row in connection.execute(sa.select(RUN).order_by(RUN.c.id)).mappings():
        used = [{"@id": uri} for uri in sorted(json.loads(row["targets_json"]))]
        if row["hypothesis"] is not None:
            used.insert(0, {"@id": f"#H{row['hypothesis']}"})
        agent = {"@id": _agent(row["distribution"], row["distribution_version"])}
        yield {
            "@id": f"#R{row['id']}",
            "@type": ["CreateAction", "prov:Activity"],
            "name": f"{row['phase']} {row['tool']} {row['tool_version']}",
            "identifier": row["job_sha256"],
            "startTime": row["created_at"],
            "instrument": agent,
            "prov:wasAssociatedWith": agent,
            "prov:used": used,
            "result": {"@id": "tables/outcome.jsonl"},
        }


def _verdicts(connection: sa.Connection) -> Iterator[Entity]:
    runs: dict[int, list[int]] = {}
    confirm = sa.select(RUN.c.hypothesis, RUN.c.id).where(RUN.c.hypothesis.is_not(None)).order_by(RUN.c.id)
    for hypothesis, run in connection.execute(confirm):
        runs.setdefault(hypothesis, []).append(run)
    for row in connection.execute(sa.select(VERDICT).order_by(VERDICT.c.id)).mappings():
        made_by = [{"@id": f"#R{run}"} for run in runs.get(row["hypothesis"], [])]
        yield {
            "@id": f"#V{row['id']}",
            "@type": ["CreativeWork", "prov:Entity"],
            "name": f"H{row['hypothesis']}: {row['label']} ({row['reason']})",
            "identifier": row["input_sha256"],
            "prov:wasDerivedFrom": {"@id": f"#H{row['hypothesis']}"},
            "prov:wasGeneratedBy": made_by,
        }
