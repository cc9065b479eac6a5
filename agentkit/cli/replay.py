"""`agentkit replay` and `agentkit export`: what a colleague needs to check a finding."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from agentkit.agent.replay import replay as replay_units
from agentkit.cli.output import emit
from agentkit.errors import ConfigError
from agentkit.ledger import Ledger
from agentkit.ledger.places import artifacts_folder
from agentkit.plugins import load_plugins
from agentkit.workers import WorkersConfig, open_executor

if TYPE_CHECKING:
    from pathlib import Path


def replay(
    store: str, hypothesis: str | None, session: str | None, *, units: int, workers: str, as_json: bool
) -> None:
    """Replay one hypothesis or one session.

    Raises:
        ConfigError: both or neither are named.
    """
    if (hypothesis is None) == (session is None):
        raise ConfigError("replay needs one of --hypothesis H3 and --session ID")
    if session is not None:
        replay_session(store, session, as_json=as_json)
    else:
        replay_hypothesis(store, str(hypothesis), units=units, workers=workers, as_json=as_json)


def replay_session(store: str, session: str, *, as_json: bool) -> None:
    """Every recorded turn through the real client again, without a key; the first difference is exit code 5."""
    from agentkit.testing.replay import replay_stored

    found = replay_stored(store, session)
    text = f"{found.session}: {found.turns} turns and {found.calls} calls replayed, equal to the record"
    emit(asdict(found), text, as_json=as_json)


def replay_hypothesis(store: str, hypothesis: str, *, units: int, workers: str, as_json: bool) -> None:
    """Measure recorded units again and compare; exit 1 when they differ by more than the tool allows."""
    with Ledger(store, readonly=True) as ledger:
        found = ledger.hypothesis(hypothesis)
        config = WorkersConfig.parse(workers)
        plugins = load_plugins().with_gpus(config.gpus_per_job)
        executor = open_executor(config)
        try:
            result = replay_units(found, units, plugins=plugins, executor=executor)
        finally:
            executor.close()
    text = (
        f"{result.hypothesis}: {result.units} units measured again, {result.values} values, largest difference "
        f"{result.largest_difference:g} (the tool allows {result.atol:g}): {'equal' if result.equal else 'DIFFERENT'}"
    )
    emit({**asdict(result), "equal": result.equal}, text, as_json=as_json)
    if not result.equal:
        raise typer.Exit(1)


def export_store(store: str, folder: Path, *, as_json: bool) -> None:
    """Write an RO-Crate of the store."""
    with Ledger(store, readonly=True) as ledger:
        artifacts = artifacts_folder(ledger.store.path)
        found = ledger.export(folder, artifacts=artifacts if artifacts.exists() else None)
    heads = "\n".join(f"head {key}: {head}" for key, head in found.heads.items())
    emit(asdict(found), f"crate  {found.folder}\n{heads}", as_json=as_json)
