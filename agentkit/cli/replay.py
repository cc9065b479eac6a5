"""`agentkit replay` and `agentkit export`: what a colleague needs to check a finding."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from agentkit.agent.replay import replay
from agentkit.cli.output import emit
from agentkit.ledger import Ledger
from agentkit.plugins import load_plugins
from agentkit.workers import WorkersConfig, open_executor

if TYPE_CHECKING:
    from pathlib import Path


def replay_hypothesis(store: str, hypothesis: str, *, units: int, workers: str, as_json: bool) -> None:
    """Measure recorded units again and compare; exit 1 when they differ by more than the tool allows."""
    with Ledger(store, readonly=True) as ledger:
        found = ledger.hypothesis(hypothesis)
        executor = open_executor(WorkersConfig.parse(workers))
        try:
            result = replay(found, units, plugins=load_plugins(), executor=executor)
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
        artifacts = ledger.store.path.with_suffix(".artifacts") if ledger.store.path else None
        found = ledger.export(folder, artifacts=artifacts if artifacts and artifacts.exists() else None)
    heads = "\n".join(f"head {key}: {head}" for key, head in found.heads.items())
    emit(asdict(found), f"crate  {found.folder}\n{heads}", as_json=as_json)
