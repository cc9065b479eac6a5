"""Where a store lies: its URL, and whether the file there may be opened at all."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from agentkit.errors import LedgerError

NETWORK_FILE_SYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "fuse.sshfs",
    "9p",
    "glusterfs",
    "ceph",
    "lustre",
}


def artifacts_folder(store: Path | None) -> Path:
    """Where the files of a ledger lie, and what its drivers show of themselves; None: a database server."""
    return (store or Path("agentkit.db")).with_suffix(".artifacts")


def parse_url(url: str | Path) -> sa.URL:
    """A path or URL as SQLAlchemy writes it; raises LedgerError for a database that is not supported."""
    text = str(url)
    if isinstance(url, Path) or "://" not in text:
        return sa.URL.create("sqlite", database=str(Path(text).expanduser()))
    try:
        parsed = sa.make_url(text)
    except exc.ArgumentError:
        raise LedgerError(f"store {text!r}: write sqlite:///FILE or postgresql://HOST/NAME") from None
    name = parsed.get_backend_name()
    if name == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise LedgerError("a ledger lives in a file; write sqlite:///FILE")
        return sa.URL.create("sqlite", database=parsed.database)
    if name != "postgresql":
        raise LedgerError(f"store {name!r} is not supported; write sqlite:///FILE or postgresql://HOST/NAME")
    return parsed.set(drivername="postgresql+psycopg")


def check_file(path: Path, *, readonly: bool) -> None:
    """Raise LedgerError, before anything is created, when no ledger can live at `path`."""
    if path.is_dir():
        raise LedgerError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise LedgerError(f"folder {path.parent} does not exist; create it first")
    if readonly and not path.exists():
        raise LedgerError(f"no ledger {path}; a study creates it")
    if (kind := file_system(path)) in NETWORK_FILE_SYSTEMS:
        raise LedgerError(
            f"{path} lies on a network file system ({kind}), where file locks lie; use a local disk"
        )
    if path.exists():
        try:
            with path.open("rb") as file:
                head = file.read(16)
        except OSError as error:
            raise LedgerError(f"{path} cannot be read: {error.strerror}") from None
        if head and head != b"SQLite format 3\0":
            raise LedgerError(f"{path} is not a SQLite database; name another file")


def file_system(path: Path) -> str:
    """Type of the file system that holds `path`; empty where the system does not say (not Linux)."""
    try:
        mounts = Path("/proc/self/mounts").read_text()
    except OSError:
        return ""
    found, longest = "", -1
    place = str(path.absolute().parent.resolve())
    for line in mounts.splitlines():
        _, mount, kind, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= longest:
            found, longest = kind, len(mount)
    return found
