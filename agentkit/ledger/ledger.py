"""`Ledger`: a store of campaigns, and the door to everything in it."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import sqlalchemy as sa

from agentkit.errors import LedgerError, SpecError, unknown
from agentkit.ledger.campaign import (
    CAMPAIGN,
    OPEN_PROCEDURE,
    PROCEDURE,
    Campaign,
    most_hypotheses,
)
from agentkit.ledger.clock import now
from agentkit.ledger.export import Export, export
from agentkit.ledger.hypothesis import HYPOTHESIS, Hypothesis
from agentkit.ledger.lease import FileLease, PostgresLease
from agentkit.ledger.query import query
from agentkit.ledger.registering import MOST_HYPOTHESES, OPEN
from agentkit.ledger.runs import RUN, Run, next_id
from agentkit.ledger.store import Store
from agentkit.ledger.values import CampaignRow, VerifyReport
from agentkit.ledger.verify import verify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from agentkit.ledger.store import Lease

ROOT_BITS = 128


class Ledger:
    """An open store; use it as a context manager.

    Args:
        url: `sqlite:///lab.db`, a path, or `postgresql://HOST/NAME`.
        readonly: open for looking only; never creates, migrates or locks anything.
        takeover: a campaign that another driver holds is taken from it; that driver can write no more.

    Raises:
        LedgerError: the file is no ledger, is damaged, newer, unreadable or on a network file system.
    """

    def __init__(self, url: str | Path, *, readonly: bool = False, takeover: bool = False) -> None:
        self.store = Store(url, readonly=readonly)
        self._takeover = takeover
        self._open: dict[int, Campaign] = {}

    @property
    def url(self) -> str:
        """What was opened, without a password."""
        return self.store.url

    def close(self) -> None:
        """Close the store and let other drivers in."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- campaigns

    def campaign(
        self,
        name: str,
        *,
        alpha: float = 0.05,
        max_hypotheses: int | Literal["open"] = 100,
        root_seed: int | None = None,
    ) -> Campaign:
        """Open a campaign, or create it; this process then is its only driver until the ledger is closed.

        Args:
            name: what it is called, once per store.
            alpha: bound on the expected share of false findings, in (0, 1).
            max_hypotheses: how many claims share that bound; each gets alpha / max_hypotheses. "open" when nobody
                knows: claim i then gets 6 alpha / (pi^2 i^2), which costs power from the third or so on.
            root_seed: below 2**128; drawn from the operating system and shown to nobody unless given.

        Raises:
            SpecError: it exists with another alpha, max_hypotheses or root.
            CampaignLockedError: another driver holds it.
        """
        asked = _campaign_values(name, alpha, max_hypotheses, root_seed)
        row = self._campaign_row(CAMPAIGN.c.key == name)
        if row is None:
            row = self._create(asked)
        _refuse_other(row, asked, root_given=root_seed is not None)
        return self._campaign(row)

    def reopen(self, name: str) -> Campaign:
        """The campaign of that name, as it was opened.

        Raises:
            LedgerError: there is none; near names are offered.
        """
        row = self._campaign_row(CAMPAIGN.c.key == name)
        if row is None:
            raise LedgerError(unknown("campaign", name, [row.key for row in self.campaigns()]))
        return self._campaign(row)

    def _create(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.store.readonly:
            names = [row.key for row in self.campaigns()]
            raise LedgerError(unknown("campaign", str(asked["key"]), names, hint=f"Store: {self.url}"))
        with self.store.write() as connection:
            row = self._campaign_row(CAMPAIGN.c.key == asked["key"])
            if row is None:  # nobody was quicker
                row = {"id": next_id(connection, CAMPAIGN)} | dict(asked) | {"created_at": now()}
                connection.execute(CAMPAIGN.insert(), row)
        return row

    def _campaign_row(self, condition: sa.ColumnElement[bool]) -> Mapping[str, Any] | None:
        with self.store.read() as connection:
            row = connection.execute(sa.select(CAMPAIGN).where(condition)).mappings().one_or_none()
        return None if row is None else dict(row)

    def _campaign(self, row: Mapping[str, Any]) -> Campaign:
        if row["id"] not in self._open:
            self._take_lease(row["id"], row["key"])
            self._open[row["id"]] = Campaign(self, row)
        return self._open[row["id"]]

    def _take_lease(self, campaign: int, key: str) -> None:
        if self.store.readonly:
            return
        lease: Lease
        if (path := self.store.path) is not None:
            lock = path.with_name(f"{path.name}.{campaign}.lock")
            lease = FileLease(lock, key, takeover=self._takeover)
        else:
            with self.store.read() as connection:
                lease = PostgresLease(connection, campaign, key, takeover=self._takeover)
        self.store.leases.append(lease)

    def campaigns(self) -> list[CampaignRow]:
        """Every campaign of the store: how many there are is part of what a reader must know."""
        closed = sa.case((HYPOTHESIS.c.state == "closed", 1), else_=0)
        counts = (
            sa.select(
                HYPOTHESIS.c.campaign,
                sa.func.count().label("hypotheses"),
                sa.func.coalesce(sa.func.sum(closed), 0).label("closed"),
            )
            .group_by(HYPOTHESIS.c.campaign)
            .subquery()
        )
        shown = ("id", "key", "alpha", "seed_origin", "created_at")
        query = (
            sa.select(CAMPAIGN, counts.c.hypotheses, counts.c.closed)
            .outerjoin(counts, counts.c.campaign == CAMPAIGN.c.id)
            .order_by(CAMPAIGN.c.id)
        )
        with self.store.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            CampaignRow(
                **{name: row[name] for name in shown},
                max_hypotheses=most_hypotheses(dict(row)),
                hypotheses=row["hypotheses"] or 0,
                closed=row["closed"] or 0,
            )
            for row in rows
        ]

    def verify(self, *, anchor: str | None = None) -> VerifyReport:
        """Check rules, chains, every sealed row, every seed and every verdict.

        `anchor` is a head noted elsewhere, a file of such heads, or `git` (see `agentkit.ledger.anchor`).

        Raises:
            VerificationError: naming the first row that is not what was sealed.
        """
        return verify(self.store, anchor)

    def query(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), **limits: Any
    ) -> list[dict[str, Any]]:
        """Rows of one SELECT, read on a connection that can do nothing else (limits: see `query`)."""
        return query(self.store, sql, parameters, **limits)

    def export(self, folder: str | Path, *, artifacts: Path | None = None) -> Export:
        """Write everything into a new folder as an RO-Crate, root seeds included; see `export`."""
        return export(self.store, Path(folder), artifacts)

    # ---- by reference

    def hypothesis(self, ref: int | str) -> Hypothesis:
        """The hypothesis `3` or `H3`."""
        id = _number(ref, "H", "hypothesis")
        for hypothesis in self._campaign_of(HYPOTHESIS, id, f"hypothesis H{id}").hypotheses():
            if hypothesis.id == id:
                return hypothesis
        raise AssertionError("a campaign lists its hypotheses")

    def run(self, ref: int | str) -> Run:
        """The run `7` or `R7`."""
        id = _number(ref, "R", "run")
        return self._campaign_of(RUN, id, f"run R{id}").run(id)

    def _campaign_of(self, table: sa.Table, id: int, what: str) -> Campaign:
        query = sa.select(CAMPAIGN).join(table, table.c.campaign == CAMPAIGN.c.id).where(table.c.id == id)
        count = sa.select(sa.func.max(table.c.id))
        with self.store.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
            last = connection.execute(count).scalar_one()
        if row is None:
            have = f"the last one is {what[-len(str(id)) - 1]}{last}" if last else "it has none"
            raise LedgerError(f"no {what} in {self.url}; {have}")
        return self._campaign(dict(row))


def _campaign_values(
    name: str, alpha: float, max_hypotheses: int | Literal["open"], root_seed: int | None
) -> dict[str, Any]:
    if not isinstance(name, str) or not name.strip() or len(name) > 200:
        raise SpecError(f"campaign name {name!r}: 1 to 200 characters are allowed")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise SpecError(f"alpha={alpha!r}: a number in (0, 1) is allowed")
    is_open = max_hypotheses == OPEN
    if not is_open and (type(max_hypotheses) is not int or not 1 <= max_hypotheses <= MOST_HYPOTHESES):
        raise SpecError(
            f"max_hypotheses={max_hypotheses!r}: a whole number from 1 to {MOST_HYPOTHESES}, or 'open', is allowed"
        )
    if root_seed is not None and (type(root_seed) is not int or not 0 <= root_seed < 1 << ROOT_BITS):
        raise SpecError(f"root_seed={root_seed!r}: a whole number from 0 to 2**{ROOT_BITS} - 1 is allowed")
    return {
        "key": name,
        "alpha": float(alpha),
        "procedure": OPEN_PROCEDURE if is_open else PROCEDURE,
        "max_hypotheses": MOST_HYPOTHESES if is_open else max_hypotheses,
        "root_seed": secrets.token_hex(ROOT_BITS // 8) if root_seed is None else f"{root_seed:032x}",
        "seed_origin": "drawn" if root_seed is None else "declared",
    }


def _refuse_other(row: Mapping[str, Any], asked: Mapping[str, Any], *, root_given: bool) -> None:
    for name, was, wanted in (
        ("alpha", row["alpha"], asked["alpha"]),
        ("max_hypotheses", most_hypotheses(row), most_hypotheses(asked)),
    ):
        if was != wanted:
            raise SpecError(
                f"{name}={wanted!r}: campaign {row['key']!r} was opened with {was!r}, which never changes; "
                "open a new campaign"
            )
    if root_given and row["root_seed"] != asked["root_seed"]:  # the stored root is not shown
        raise SpecError(
            f"root_seed: campaign {row['key']!r} was opened with another root, which never changes"
        )


def is_run(ref: int | str) -> bool:
    """Whether a reference names a run, such as `R3`."""
    return re.fullmatch(r"R\d+", str(ref).strip(), re.IGNORECASE) is not None


def no_verdict(ref: int | str) -> str:
    """What is said to whoever asks for a run's verdict."""
    return f"{ref} is a run, and no run has a verdict: register a hypothesis and confirm it on fresh units"


def _number(ref: int | str, letter: str, kind: str) -> int:
    if letter == "H" and is_run(ref):
        raise LedgerError(no_verdict(ref))
    match = re.fullmatch(rf"{letter}?(\d{{1,18}})", str(ref).strip(), re.IGNORECASE)
    if match is None:
        raise LedgerError(f"{kind} {ref!r}: write a number, or {letter}3")
    return int(match[1])
