"""`agentkit noise …`: files of a whole run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from agentkit.errors import ParamError

app = typer.Typer(no_args_is_help=True, help="Noise: draw a run's curves, maps and claims.")


@app.callback()
def root() -> None:
    """Keeps `figures` a subcommand."""


@app.command()
def figures(
    run: Annotated[str, typer.Argument(help="The run: R3.")],
    store: Annotated[
        str, typer.Argument(help="The ledger: a path or a database URL.", envvar="AGENTKIT_STORE")
    ] = "agentkit.db",
    out: Annotated[Path | None, typer.Option(help="Folder for the files; figures-RUN unless said.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
) -> None:
    """Draw dose-response curves, certified accuracy, maps, and the claims worth registering, of one recorded run."""
    from agentkit import Lab
    from agentkit_input_noise.figures import Folder, write_figures

    if not (number := run.removeprefix("R")).isdigit():
        raise ParamError(f"{run!r} is no run; runs are called R1, R2, … (agentkit log {store})")
    with Lab(store, workers="inline") as bench:
        found = bench.ledger.run(int(number))
        if found.conditions is not None:
            raise ParamError(f"{found.ref} measured some conditions only; curves are drawn of explorations")
        tool = bench.plugins.tool(found.tool)
        table = found.measurements()
        units = [unit for unit in found.units if unit.index in set(table.units)]
        folder = out or Path(f"figures-{found.ref}")
        names = write_figures(tool, found.params, table, units, Folder(folder))
    if as_json:
        typer.echo(
            json.dumps({"run": found.ref, "tool": found.tool, "files": [str(folder / n) for n in names]})
        )
    else:
        typer.echo("\n".join(str(folder / name) for name in names))
