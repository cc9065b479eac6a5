"""`verify`: is this store what was once written? Rules, chain, every sealed row, every seed, every verdict."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentkit.canon import sha256_of
from agentkit.errors import VerificationError
from agentkit.ledger import chain, models, rules
from agentkit.ledger.anchor import noted
from agentkit.ledger.conversations import conversation_faults
from agentkit.ledger.evidence import sample_of, verdicts_of
from agentkit.ledger.rows import bodies
from agentkit.ledger.spec import Spec
from agentkit.ledger.values import VerifyReport
from agentkit.seeds import unit_seed
from agentkit.stats.eprocess import ENGINE_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agentkit.ledger.anchor import Anchor
    from agentkit.ledger.store import Store

CAMPAIGN = models.table(models.CampaignTable)
HYPOTHESIS = models.table(models.HypothesisTable)
RUN = models.table(models.RunTable)
RUN_UNIT = models.table(models.RunUnitTable)
ENVIRONMENT = models.table(models.EnvironmentTable)
DECISION = models.table(models.DecisionTable)
VERDICT = models.table(models.VerdictTable)
EVENT = chain.EVENT
EVENTS_AT_ONCE = 500
ROUNDING = 1e-9
"""Relative difference forgiven when another machine recomputes an interval end (the row itself is sealed exactly)."""


@dataclass
class _Chain:
    """What walking one chain has shown so far."""

    campaign: Mapping[str, Any]
    hashes: list[str]
    frozen: dict[int, int] = field(default_factory=dict)
    closed: dict[int, int] = field(default_factory=dict)
    runs: dict[int, int | None] = field(default_factory=dict)


def verify(store: Store, anchor: str | None = None) -> VerifyReport:
    """Check everything that can be checked from the store alone, and against heads noted elsewhere.

    Args:
        store: what is checked.
        anchor: a head, a file of heads, or `git`: see `agentkit.ledger.anchor.noted`.

    Raises:
        LedgerError: no head is noted there.
        VerificationError: naming the first row that is not what was sealed, and any rule that is missing.
    """
    anchors = [] if anchor is None else noted(anchor)
    with store.read() as connection:
        broken_rules = rules.faults(connection)
        walked: list[_Chain] = []
        first = next(_faults(connection, walked, anchors), None)
        if first or broken_rules:
            raise VerificationError("; ".join([f"{store.url}: {first}"] * bool(first) + broken_rules[:3]))
        return _report(connection, walked)


def _report(connection: sa.Connection, walked: Sequence[_Chain]) -> VerifyReport:
    old = sa.select(sa.func.count()).where(VERDICT.c.engine_version != ENGINE_VERSION)
    older = connection.execute(old.select_from(VERDICT)).scalar_one()
    notes = [f"{older} verdicts of an older engine were not recomputed"] if older else []

    def count(table: sa.Table) -> int:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())

    return VerifyReport(
        events=sum(len(w.hashes) - 1 for w in walked),
        hypotheses=count(HYPOTHESIS),
        units=count(RUN_UNIT),
        verdicts=count(VERDICT),
        heads={w.campaign["key"]: w.hashes[-1] for w in walked},
        notes=notes,
    )


def _faults(connection: sa.Connection, walked: list[_Chain], anchors: Sequence[Anchor]) -> Iterator[str]:
    yield from _file_faults(connection)
    campaigns = connection.execute(sa.select(CAMPAIGN).order_by(CAMPAIGN.c.id)).mappings().all()
    for campaign in campaigns:
        here = _Chain(dict(campaign), [chain.genesis(dict(campaign)).hash])
        walked.append(here)
        yield from _chain_faults(connection, here)
    yield from _unsealed(connection)
    yield from _content_faults(connection)
    yield from conversation_faults(connection)
    yield from _seed_faults(connection)
    for here in walked:
        yield from _verdict_faults(connection, here)
    for anchor in anchors:
        chains = [w for w in walked if anchor.campaign in (None, w.campaign["key"])]
        if not any(anchor.head in here.hashes for here in chains):
            yield f"{anchor} is in no chain: this is another store, or its chain was rebuilt"


def _file_faults(connection: sa.Connection) -> Iterator[str]:
    if connection.dialect.name != "sqlite":
        return
    found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
    if found != "ok":
        yield f"the file is damaged ({found})"
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"{table} row {row} belongs to a {parent} that is gone"


# ---- the chain, link by link


def _chain_faults(connection: sa.Connection, here: _Chain) -> Iterator[str]:
    campaign = here.campaign
    events = connection.execute(
        sa.select(EVENT).where(EVENT.c.campaign == campaign["id"]).order_by(EVENT.c.seq)
    )
    place = f"campaign {campaign['key']!r}"
    for rows in events.partitions(EVENTS_AT_ONCE):
        block = [row._asdict() for row in rows]
        found = bodies(connection, [(event["kind"], event["ref"]) for event in block])
        for event in block:
            link = f"{place}, event {event['seq']} ({event['kind']} {event['ref']})"
            yield from _link_faults(here, event, link)
            body = found.get((event["kind"], event["ref"]))
            if body is None:
                yield f"{link}: its row is gone"
            elif sha256_of(body) != event["body_sha256"]:
                yield f"{link}: {_name(event['kind'], body)} is not what was sealed"
            else:
                yield from _order_faults(here, event, body, link)


def _link_faults(here: _Chain, event: Mapping[str, Any], link: str) -> Iterator[str]:
    if event["seq"] != len(here.hashes):
        yield f"{link}: event {len(here.hashes)} is missing"
    if event["prev_hash"] != here.hashes[-1]:
        what = "the campaign's own row was changed" if event["seq"] == 1 else "the link before it was changed"
        yield f"{link}: {what}"
    wanted = chain.link_hash(
        here.campaign["key"], event["seq"], event["kind"], event["body_sha256"], event["prev_hash"]
    )
    if event["hash"] != wanted:
        yield f"{link}: its hash does not fit its content"
    here.hashes.append(event["hash"])


def _order_faults(
    here: _Chain, event: Mapping[str, Any], body: Mapping[str, Any], link: str
) -> Iterator[str]:
    """Seeds only after freezing, outcomes only after dispatch and before closing, all in one campaign."""
    kind, ref, seq = event["kind"], event["ref"], event["seq"]
    if body.get("campaign", here.campaign["id"]) != here.campaign["id"]:
        yield f"{link}: it belongs to another campaign"
    if kind == "freeze":
        here.frozen[ref] = seq
    elif kind == "close":
        here.closed[ref] = seq
        if ref not in here.frozen:
            yield f"{link}: it was closed before it was frozen"
    elif kind == "run":
        here.runs[ref] = body["hypothesis"]
        if body["phase"] == "confirm" and body["hypothesis"] not in here.frozen:
            yield f"{link}: its seeds were drawn before its hypothesis was frozen"
        if body["hypothesis"] in here.closed:
            yield f"{link}: its hypothesis was closed before"
    elif kind == "outcome":
        if body["event_seq"] != seq:
            yield f"{link}: it says that it is event {body['event_seq']}"
        if body["run"] not in here.runs:
            yield f"{link}: its run was never sealed"
        elif here.runs[body["run"]] in here.closed:
            yield f"{link}: its hypothesis was closed before"


def _name(kind: str, body: Mapping[str, Any]) -> str:
    """The row behind a link, as a user knows it."""
    ref = body["id"]
    if kind in ("freeze", "close"):
        return f"hypothesis H{ref}"
    if kind == "run":
        return f"run R{ref}"
    if kind == "outcome":
        return f"outcome {ref} (run R{body['run']}, unit {body['unit']})"
    if kind == "verdict":
        return f"verdict {ref} (hypothesis H{body['hypothesis']})"
    return f"{kind} {ref}"


def _unsealed(connection: sa.Connection) -> Iterator[str]:
    """Rows that no link covers: written past the ledger."""
    state = HYPOTHESIS.c.state
    for kind, model in chain.MODEL_OF.items():
        table = models.table(model)
        covered = sa.exists().where(EVENT.c.kind == kind, EVENT.c.ref == table.c.id)
        due = {"freeze": state != "draft", "close": state == "closed"}.get(kind, sa.true())
        stray = connection.execute(sa.select(sa.func.min(table.c.id)).where(due, ~covered)).scalar_one()
        if stray is not None:
            yield f"{table.name} {stray} was written past the ledger: no event of kind {kind} covers it"
    reopened = sa.exists().where(EVENT.c.kind == "close", EVENT.c.ref == HYPOTHESIS.c.id)
    query = sa.select(sa.func.min(HYPOTHESIS.c.id)).where(state != "closed", reopened)
    if (row := connection.execute(query).scalar_one()) is not None:
        yield f"hypothesis H{row} was closed and has been reopened"


# ---- what rows say about themselves


def _content_faults(connection: sa.Connection) -> Iterator[str]:
    registered = sa.select(HYPOTHESIS).where(HYPOTHESIS.c.state != "draft").order_by(HYPOTHESIS.c.id)
    for row in connection.execute(registered).mappings():
        spec = Spec.model_validate(json.loads(row["spec_json"]))
        if spec.sha256 != row["spec_sha256"]:
            yield f"hypothesis H{row['id']}: its spec does not have the hash that its seeds come from"
        repeated = spec.model_dump(mode="json")
        for name in (
            "tool",
            "metric",
            "direction",
            "null",
            "sesoi",
            "test",
            "interval",
            "failed",
            "max_units",
        ):
            if repeated[name] != row[name]:
                yield f"hypothesis H{row['id']}: column {name} differs from its spec"
    for row in connection.execute(sa.select(ENVIRONMENT)).mappings():
        if sha256_of(json.loads(row["content_json"])) != row["sha256"]:
            yield f"environment {row['sha256'][:16]}… is not what was recorded"
    for row in connection.execute(sa.select(DECISION)).mappings():
        if sha256_of(json.loads(row["content_json"])) != row["content_sha256"]:
            yield f"decision {row['id']} is not what was recorded"


def _seed_faults(connection: sa.Connection) -> Iterator[str]:
    """Every seed follows from root, phase, spec and unit, and was passed over only where it was really taken."""
    query = (
        sa.select(
            RUN_UNIT,
            RUN.c.question_sha256,
            RUN.c.hypothesis.label("own"),
            CAMPAIGN.c.root_seed,
            HYPOTHESIS.c.spec_sha256,
        )
        .join(RUN, RUN.c.id == RUN_UNIT.c.run)
        .join(CAMPAIGN, CAMPAIGN.c.id == RUN.c.campaign)
        .outerjoin(HYPOTHESIS, HYPOTHESIS.c.id == RUN.c.hypothesis)
        .order_by(RUN_UNIT.c.run, RUN_UNIT.c.unit)
    )
    earlier: set[int] = set()
    confirmed: set[int] = set()
    for row in connection.execute(query).mappings():
        place = f"unit {row['unit']} of run R{row['run']}"
        source = row["spec_sha256"] if row["phase"] == "confirm" else row["question_sha256"]
        derived = [
            unit_seed(row["root_seed"], row["phase"], source, row["unit"], retry)
            for retry in range(row["retry"] + 1)
        ]
        if row["seed"] != derived[-1]:
            yield f"{place}: its seed does not follow from its campaign's root and spec"
        if not set(derived[:-1]) <= earlier:
            yield f"{place}: a free seed was passed over"
        if row["seed"] in confirmed or (row["phase"] == "confirm" and row["seed"] in earlier):
            yield f"{place}: a confirm seed was used twice"
        earlier.add(row["seed"])
        if row["phase"] == "confirm":
            confirmed.add(row["seed"])


# ---- verdicts, computed again


def _verdict_faults(connection: sa.Connection, here: _Chain) -> Iterator[str]:
    query = (
        sa.select(VERDICT)
        .join(HYPOTHESIS, HYPOTHESIS.c.id == VERDICT.c.hypothesis)
        .where(HYPOTHESIS.c.campaign == here.campaign["id"], VERDICT.c.engine_version == ENGINE_VERSION)
        .order_by(VERDICT.c.as_of_seq, VERDICT.c.id)
    )
    stored = connection.execute(query).mappings().all()
    for seq in sorted({row["as_of_seq"] for row in stored}):
        wanted = _recomputed(connection, here, seq)
        for row in (r for r in stored if r["as_of_seq"] == seq):
            place = f"verdict {row['id']} (hypothesis H{row['hypothesis']})"
            if row["hypothesis"] not in wanted:
                yield f"{place}: its hypothesis was not closed at event {seq}"
                continue
            for name, value in wanted[row["hypothesis"]].items():
                if not _equal(row[name], value):
                    yield f"{place}: {name} is {row[name]!r}; its outcomes give {value!r}"


def _recomputed(connection: sa.Connection, here: _Chain, seq: int) -> dict[int, dict[str, Any]]:
    """What the verdicts must have been when the chain stood at `seq`."""
    closed = [h for h, at in here.closed.items() if at <= seq]
    query = sa.select(HYPOTHESIS).where(HYPOTHESIS.c.id.in_(closed)).order_by(HYPOTHESIS.c.ordinal)
    rows = connection.execute(query).mappings().all()
    specs = [Spec.model_validate(json.loads(row["spec_json"])) for row in rows]
    samples = [sample_of(connection, row["id"], spec) for row, spec in zip(rows, specs, strict=True)]
    verdicts = verdicts_of(specs, samples, [row["weight"] for row in rows], here.campaign["alpha"])
    return {
        row["id"]: vars(verdict) | {"input_sha256": sample.sha256}
        for row, sample, verdict in zip(rows, samples, verdicts, strict=True)
    }


def _equal(stored: Any, computed: Any) -> bool:
    if isinstance(stored, float) and isinstance(computed, float):
        return math.isclose(stored, computed, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return bool(stored == computed)
