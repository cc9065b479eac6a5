"""One driver per campaign: a lock that dies with its holder and needs no clock."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import socket
from typing import TYPE_CHECKING

import sqlalchemy as sa

from agentkit.errors import CampaignLockedError

if TYPE_CHECKING:
    from pathlib import Path


class FileLease:
    """An exclusive lock on a file beside the store, which names its holder and vanishes on release.

    The lock of a dead driver is free at once. `takeover` ends the right of a living one (one that hangs): its file
    is replaced, and the next time it wants to write it finds that out.

    Raises:
        CampaignLockedError: another driver holds it; the message names its process and host.
    """

    def __init__(self, path: Path, campaign: str, *, takeover: bool = False) -> None:
        self._path, self._campaign = path, campaign
        self._descriptor = self._acquire(takeover)
        os.ftruncate(self._descriptor, 0)
        holder = {"pid": os.getpid(), "host": socket.gethostname()}
        os.write(self._descriptor, json.dumps(holder).encode())

    def _acquire(self, takeover: bool) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if takeover and self._is_current(descriptor):
                    self._path.unlink(missing_ok=True)
                holder = os.read(descriptor, 1000).decode(errors="replace")
                os.close(descriptor)
                if takeover:
                    continue
                raise CampaignLockedError(_locked_by(self._campaign, holder)) from None
            if self._is_current(descriptor):
                return descriptor
            os.close(descriptor)  # its holder removed the file between our open and our lock: try the new one

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def check(self) -> None:
        """Raise CampaignLockedError when another driver has taken over."""
        if not self._is_current(self._descriptor):
            new = self._path.read_text(errors="replace") if self._path.exists() else ""
            raise CampaignLockedError(
                f"campaign {self._campaign!r} was taken over by {_who(new)}; this driver writes nothing more"
            )

    def renew(self, connection: sa.Connection) -> None:
        """A file lock does not depend on a connection."""

    def release(self) -> None:
        """Let the next driver in."""
        if self._descriptor >= 0:
            if self._is_current(self._descriptor):  # never the file of the driver that took over
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


_SCHEMA = "SELECT oid::int FROM pg_namespace WHERE nspname = current_schema()"
"""First key of our advisory locks, so that stores in two schemas do not meet; the campaign's id is the second."""


class PostgresLease:
    """An advisory lock of the writing connection's session; the server frees it when the session ends.

    `takeover` ends the session of whoever holds it; that driver finds the lock taken when it connects again.

    Raises:
        CampaignLockedError: another session holds it.
    """

    def __init__(
        self, connection: sa.Connection, campaign_id: int, campaign: str, *, takeover: bool = False
    ) -> None:
        self._id, self._campaign, self._schema = campaign_id, campaign, 0
        token = secrets.token_hex(4)  # tells our own sessions from those of another driver in this process
        self._name = f"agentkit pid={os.getpid()} host={socket.gethostname()}"[:54] + f" {token}"
        if takeover:
            schema = connection.exec_driver_sql(_SCHEMA).scalar_one()
            connection.exec_driver_sql(_END_HOLDER, (schema, campaign_id))
        self.renew(connection)

    def check(self) -> None:
        """Nothing to do: who was ended has no session to write with."""

    def renew(self, connection: sa.Connection) -> None:
        """Take the lock for this session (which may hold it already).

        A session of ours whose link broke may live on at the server, which has not noticed, and hold the lock: it is
        ended first.
        """
        connection.execute(sa.select(sa.func.set_config("application_name", self._name, sa.false())))
        self._schema = connection.exec_driver_sql(_SCHEMA).scalar_one()
        if self._taken(connection):
            return
        if self._holder_name(connection) == self._name:
            connection.exec_driver_sql(_END_HOLDER, (self._schema, self._id))
            if self._taken(connection):
                return
        raise CampaignLockedError(_locked_by(self._campaign, self._holder(connection)))

    def _taken(self, connection: sa.Connection) -> bool:
        free = sa.select(sa.func.pg_try_advisory_lock(self._schema, self._id))
        return bool(connection.execute(free).scalar_one())

    def _holder_name(self, connection: sa.Connection) -> str:
        query = (
            "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
            "WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = %s"
        )
        return str(connection.exec_driver_sql(query, (self._schema, self._id)).scalar())

    def _holder(self, connection: sa.Connection) -> str:
        match = re.fullmatch(r"agentkit pid=(\d+) host=(.*) \w+", self._holder_name(connection))
        return json.dumps({"pid": match[1], "host": match[2]}) if match else ""

    def release(self) -> None:
        """Nothing to do: closing the connection has freed it."""


_END_HOLDER = (
    "SELECT pg_terminate_backend(l.pid, 5000) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted "
    "AND l.classid = %s AND l.objid = %s AND l.pid <> pg_backend_pid()"
)


def _locked_by(campaign: str, holder: str) -> str:
    return (
        f"campaign {campaign!r} is being driven by {_who(holder)}; wait for it, or end it, then go on "
        "(if it hangs: --takeover ends its right to write)"
    )


def _who(holder: str) -> str:
    try:
        known = json.loads(holder)
        return f"process {known['pid']} on {known['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
