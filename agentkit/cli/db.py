"""`agentkit db url|upgrade`: which database a command would open, and its tables brought to this version's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentkit.cli.output import emit
from agentkit.errors import LedgerError

app = typer.Typer(no_args_is_help=True, help="Which database is used, and its upgrade to this version.")
Store = Annotated[str, typer.Argument(help="The ledger: a path or a database URL.", envvar="AGENTKIT_STORE")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
DEFAULT_STORE = "agentkit.db"


@app.callback()
def group() -> None:
    """Which database is used, and its upgrade to this version."""


@app.command()
def url(store: Store = DEFAULT_STORE, as_json: Json = False) -> None:
    """The URL that commands would open from here, without its password. Opens nothing."""
    from agentkit.ledger.places import parse_url

    parsed = parse_url(store)
    if parsed.drivername == "sqlite":
        parsed = parsed.set(database=str(Path(str(parsed.database)).absolute()))
    shown = parsed.render_as_string(hide_password=True)
    emit({"url": shown}, shown, as_json=as_json)


@app.command()
def upgrade(store: Store = DEFAULT_STORE, as_json: Json = False) -> None:
    """Bring the tables of an older ledger to this version's, all of them or none. Verify it before and after."""
    from agentkit.ledger.places import parse_url
    from agentkit.ledger.schema import REVISIONS, version_of
    from agentkit.ledger.store import Store as Database

    parsed = parse_url(store)
    if parsed.drivername == "sqlite" and not Path(str(parsed.database)).exists():
        raise LedgerError(f"no ledger {store}; a study creates it")
    before = version_of(parsed)
    Database(store).close()
    said = (
        f"schema {before} before, {REVISIONS[-1]} now"
        if before != REVISIONS[-1]
        else f"schema {before}: nothing to do"
    )
    emit({"before": before, "now": REVISIONS[-1]}, said, as_json=as_json)
