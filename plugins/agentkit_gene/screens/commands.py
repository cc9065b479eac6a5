"""`agentkit gene …`: the loop with a real lab in it, weeks apart."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentkit_gene.screens.lab_loop import LabLoop

app = typer.Typer(no_args_is_help=True, help="Genes: which ones to test next, and what the lab found.")

Store = Annotated[str, typer.Option(help="The ledger; it holds the whole state.", envvar="AGENTKIT_STORE")]
Campaign = Annotated[str, typer.Option(help="One screen in the ledger; name another to begin another.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]


@app.command("next")
def next_(
    batch: Annotated[int, typer.Option(min=1, help="How many genes to test.")],
    library: Annotated[
        Path | None, typer.Option(help="Genes that may be tested: a table with the column gene.")
    ] = None,
    screen: Annotated[
        str | None, typer.Option(help="Instead of --library: a shared screen by name, or screen:….")
    ] = None,
    task: Annotated[str, typer.Option(help="The goal in words; the prior reads it.")] = "",
    features: Annotated[
        list[str] | None, typer.Option(help="Prior knowledge: .gmt, .sif, .csv; may be repeated.")
    ] = None,
    picker: Annotated[str | None, typer.Option(help="prior+ens unless said.")] = None,
    feedback: Annotated[
        str | None, typer.Option(help="score (default), or hit: results carry a hit column.")
    ] = None,
    direction: Annotated[str | None, typer.Option(help="Which scores are hits: abs, high or low.")] = None,
    planner: Annotated[
        str | None, typer.Option(help="Let a chat model propose as well: anthropic:MODEL.")
    ] = None,
    store: Store = "agentkit.db",
    campaign: Campaign = "genes",
    workers: Annotated[str, typer.Option(help="inline, local")] = "inline",
    as_json: Json = False,
) -> None:
    """Print the next batch as CSV, best first, with evidence. The same batch again until results are recorded.

    The first call names the genes and the task; later calls need only --batch.
    """
    if library is not None and screen is not None:
        raise ConfigError("give --library or --screen, not both")
    if planner == "offline":
        raise ConfigError(
            "the offline planner knows nothing about genes; leave --planner out, or name anthropic:MODEL"
        )
    target = _target(library, screen)
    with _loop(store, campaign, workers, planner or "offline") as loop:
        loop.begin(
            target=target, task=task, features=tuple(_absolute(f) for f in features or ()), picker=picker,
            feedback=feedback, direction=direction,
        )  # fmt: skip
        asked = loop.ask(batch, propose=planner is not None)
    again = " (asked for before; record its results to go on)" if asked.repeated else ""
    typer.echo(f"round {asked.round}: {len(asked.genes)} genes, run {asked.run}{again}", err=True)
    for note in asked.notes:
        typer.echo(note, err=True)
    if as_json:
        typer.echo(
            json.dumps({"round": asked.round, "run": asked.run, "picks": asked.rows, "notes": asked.notes})
        )
    else:
        typer.echo(asked.csv, nl=False)


@app.command()
def record(
    results: Annotated[
        Path, typer.Argument(help="A table with the columns gene and score (and hit: 0 or 1).")
    ],
    duplicates: Annotated[
        str, typer.Option(help="mean: average repeated genes instead of refusing them.")
    ] = "refuse",
    store: Store = "agentkit.db",
    campaign: Campaign = "genes",
    as_json: Json = False,
) -> None:
    """Record what the lab found; it ends the round."""
    if not Path(store.removeprefix("sqlite:///")).exists() and "://" not in store.removeprefix("sqlite:///"):
        raise ConfigError(f"no ledger {store}; begin with: agentkit gene next --library FILE.csv --batch 96")
    if duplicates not in ("refuse", "mean"):
        raise ConfigError(f"--duplicates {duplicates}: say refuse or mean")
    with _loop(store, campaign, "inline", "offline") as loop:
        done = loop.record(results, duplicates=duplicates)
    hits = "" if done.hits is None else f", {done.hits} of them hits"
    typer.echo(f"round {done.round}: {len(done.genes)} results recorded{hits}", err=as_json)
    for line in _remarks(done):
        typer.echo(line, err=True)
    if as_json:
        typer.echo(json.dumps({"round": done.round, "results": len(done.genes), "hits": done.hits, "missing": done.missing,
                               "unasked": done.unasked, "proposed": done.proposed, "proposed_hits": done.proposed_hits}))  # fmt: skip


def _remarks(done: Any) -> list[str]:
    found = []
    if done.missing:
        found.append(f"{len(done.missing)} picks have no result and stay untested: {_few(done.missing)}")
    if done.unasked:
        found.append(f"{len(done.unasked)} genes were not asked for and are taken in: {_few(done.unasked)}")
    if done.proposed:
        hits = "" if done.proposed_hits is None else f", {done.proposed_hits} of them hits"
        found.append(f"a proposer had named {done.proposed} of these genes{hits}")
    return found


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _target(library: Path | None, screen: str | None) -> str | None:
    if library is not None:
        if not library.is_file():
            raise ConfigError(f"--library {library}: no such file; it is a table with the column gene")
        return f"screen:{library.resolve()}"
    if screen is None or screen.startswith("screen:"):
        return screen
    return f"screen:{screen}"


def _absolute(feature: str) -> str:
    """The path from anywhere: the next batch may be asked for from another folder."""
    block, sign, rest = feature.partition("=")
    if Path(feature).exists() or not sign:
        return str(Path(feature).resolve())
    return f"{block}={Path(rest).resolve()}"


@contextmanager
def _loop(store: str, campaign: str, workers: str, planner: str) -> Iterator[LabLoop]:
    from agentkit import Lab
    from agentkit_gene.screens.lab_loop import LabLoop

    with Lab(store, planner=planner, workers=workers) as lab:
        yield LabLoop(lab, lab.campaign(campaign))
