"""`agentkit noise …`: files of a whole run, and texts rewritten by a chat model."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from agentkit.errors import ParamError, ToolError, unknown

app = typer.Typer(no_args_is_help=True, help="Noise: draw a run's curves; let a chat model rewrite texts.")


@app.callback()
def root() -> None:
    """Commands of the noise plugin."""


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


@app.command()
def variants(
    planner: Annotated[str, typer.Option(help="The chat model that writes: anthropic:MODEL, or a plugin's.")],
    out: Annotated[
        Path, typer.Option(help="File to add lines to; texts that it holds are not asked for again.")
    ],
    data: Annotated[str, typer.Option(help="Labelled texts: URI.")] = "addresses:",
    kinds: Annotated[
        str, typer.Option(help="paraphrase, simplify, verbose, separated by commas.")
    ] = "paraphrase",
    level: Annotated[int, typer.Option(min=1, max=3, help="How much is changed.")] = 1,
    items: Annotated[int, typer.Option(min=1, help="How many texts, the first of the test split.")] = 20,
) -> None:
    """Let a chat model rewrite texts into a file that noise.slots and noise.text read: variants:FILE.jsonl."""
    from agentkit import Lab
    from agentkit_input_noise.variants import KINDS, chat, read, write_lines

    chosen = [kind.strip() for kind in kinds.split(",")]
    for kind in chosen:
        if kind not in KINDS:
            raise ParamError(unknown("kind to rewrite", kind, KINDS))
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder) / "unused.db", workers="inline") as bench:
        ask = chat(planner, dict(bench.plugins.planners))
        loader, rest = bench.plugins.loader(data)
        texts = loader.load(rest, "cpu")
    held = set(read(out).words) if out.is_file() and out.stat().st_size else set()
    wanted = {kind: [i for i in texts.test[:items] if (kind, level, i) not in held] for kind in chosen}
    typer.echo(f"asking {planner} for {sum(map(len, wanted.values()))} texts, a request each", err=True)
    written = failed = 0
    with out.open("a", encoding="utf-8") as stream:
        for kind, missing in wanted.items():
            for line in write_lines(ask, texts, missing, [kind], level):
                if line is None:
                    failed += 1
                    continue
                stream.write(line + "\n")
                written += 1
    typer.echo(
        f"{written} texts written to {out}" + (f", {failed} without a usable answer" if failed else "")
    )
    if failed and not written:
        raise ToolError(f"{planner} gave no usable answer to {failed} requests; try another model")
