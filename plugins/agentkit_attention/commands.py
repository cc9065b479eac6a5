"""`agentkit attention …`: what the lab drives for this plugin."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads it at run time
from typing import Annotated, Any

import typer

from agentkit.errors import ConfigError, near_names

app = typer.Typer(no_args_is_help=True, help="Attention: hunt for heads that guide a diffusion model.")
KEYS = (
    "target", "objective", "judge", "k", "rounds", "units", "u_search", "u_post", "race", "eta", "campaign",
    "seed", "options",
)  # fmt: skip


@app.callback()
def root() -> None:
    """Keeps `hunt` a subcommand."""


@app.command()
def hunt(
    file: Annotated[Path, typer.Argument(help="YAML with k, target, objective, judge, units, …")],
    store: Annotated[str, typer.Option(help="The ledger.", envvar="AGENTKIT_STORE")] = "agentkit.db",
    workers: Annotated[str, typer.Option(help="inline, local, local:2")] = "local",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
) -> None:
    """Search the heads whose guidance raises the objective; every candidate is recorded as exploration."""
    from agentkit import Lab
    from agentkit_attention.headhunter import HeadHunter, heads_of

    settings = read_settings(file)
    with Lab(store, workers=workers, notify=lambda line: typer.echo(line, err=True)) as bench:
        campaign = bench.campaign(settings.pop("campaign", "hunt"), seed=settings.pop("seed", None))
        heads = heads_of(bench.plugins, settings.get("target", "digits-dit:"))
        found = HeadHunter(bench, heads, campaign=campaign, **settings).run()
    if as_json:
        tried = [
            {"round": r.round, "head": c.head, "gain": c.gain, "units": c.units, "kept": c.head in r.kept}
            for r in found.rungs
            for c in r.candidates
        ]
        typer.echo(json.dumps({"heads": found.heads, "tried": tried, "grid": found.grid}))
    else:
        typer.echo(found.text)


def read_settings(file: Path) -> dict[str, Any]:
    """Settings of a hunt, every fault named with the file.

    Raises:
        ConfigError: the file cannot be read, is no mapping, has an unknown key, or lacks k.
    """
    import yaml

    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict) or "k" not in settings:
        raise ConfigError(f"{file}: a hunt is a mapping with at least k, the number of heads to find")
    for key in settings:
        if key not in KEYS:
            raise ConfigError(f"{file}: no key {key!r} in a hunt. {near_names(str(key), KEYS)}")
    if "u_post" in settings:
        settings["u_post"] = tuple(settings["u_post"])
    return settings
