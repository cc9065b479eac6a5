"""`agentkit campaigns|hypotheses|runs|verdicts list|show` and `agentkit sql`: reading a ledger as rows."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentkit.cli.output import emit, table

if TYPE_CHECKING:
    from collections.abc import Sequence

Store = Annotated[str, typer.Option(help="The ledger: a path or a database URL.", envvar="AGENTKIT_STORE")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV to stdout.")]
DEFAULT_STORE = "agentkit.db"
CELL_CHARACTERS = 48
KINDS = ("campaigns", "hypotheses", "runs", "verdicts")
REFERENCE = "A campaign's name, H3, or R7; a verdict is named by its hypothesis."


def group(kind: str) -> typer.Typer:
    """The group of commands that lists and shows one kind of row."""
    app = typer.Typer(no_args_is_help=True, help=f"List and show {kind}.")

    @app.command("list")
    def list_(
        store: Store = DEFAULT_STORE,
        campaign: Annotated[str | None, typer.Option(help="Only those of one campaign.")] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="Only the newest so many.")] = None,
        as_json: Json = False,
        as_csv: Csv = False,
    ) -> None:
        from agentkit.ledger import Ledger
        from agentkit.ledger.listing import rows

        with Ledger(store, readonly=True) as ledger:
            found = rows(ledger, kind, campaign=campaign, limit=limit)
        print_rows(found, as_json=as_json, as_csv=as_csv)

    @app.command()
    def show(
        ref: Annotated[str, typer.Argument(help=REFERENCE)],
        store: Store = DEFAULT_STORE,
        as_json: Json = False,
        as_csv: Csv = False,
    ) -> None:
        from agentkit.ledger import Ledger
        from agentkit.ledger.listing import one

        with Ledger(store, readonly=True) as ledger:
            found = one(ledger, kind, ref)
        if as_csv:  # a run's measurements are its table; anything else is one row
            print_rows(found.get("measurements") or [found], as_json=False, as_csv=True)
        else:
            emit(found, _page(found), as_json=as_json)

    list_.__doc__ = f"All {kind} of a ledger, oldest first."
    show.__doc__ = f"Everything about one of the {kind}."
    return app


def sql(
    query: Annotated[str, typer.Argument(help="One SELECT.")],
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Rows of one SELECT, on a connection that can only read; root seeds are hidden."""
    from agentkit.ledger import Ledger

    with Ledger(store, readonly=True) as ledger:
        found = ledger.query(query)
    print_rows(found, as_json=as_json, as_csv=as_csv)


def print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool, as_csv: bool) -> None:
    """Rows as JSON, as CSV, or as columns for people (long cells are cut there, and nowhere else)."""
    header = list(rows[0]) if rows else []
    if as_csv and not as_json:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([[_cell(row[name]) for name in header] for row in rows])
        print(out.getvalue(), end="")
        return
    cells = [[_cut(_cell(row[name])) for name in header] for row in rows]
    emit(list(rows), table(cells, header) if rows else "no rows", as_json=as_json)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    return "" if value is None else str(value)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= CELL_CHARACTERS else f"{line[: CELL_CHARACTERS - 1]}…"


def _page(found: dict[str, Any]) -> str:
    """Fields one a line; lists of rows as tables below."""
    tables = {k: v for k, v in found.items() if isinstance(v, list) and v and isinstance(v[0], dict)}
    width = max(len(name) for name in found)
    lines = [f"{name:<{width}}  {_cell(value)}" for name, value in found.items() if name not in tables]
    for name, rows in tables.items():
        header = list(rows[0])
        lines += ["", name, table([[_cut(_cell(row[h])) for h in header] for row in rows], header)]
    return "\n".join(lines)
