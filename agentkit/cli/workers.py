"""`agentkit workers`: what the drivers of a store run now, on which workers, for how long. Opens no ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit.cli.output import emit, table
from agentkit.ledger.places import artifacts_folder, parse_url
from agentkit.workers import WorkersConfig, running_drivers
from agentkit.workers.config import available_cpus, total_memory

if TYPE_CHECKING:
    from pathlib import Path

    from agentkit.workers import DriverStatus, WorkerInfo

HEADER = ("worker", "state", "device", "pid", "memory", "runs", "for", "done", "restarts", "warm")


def show_workers(store: str, *, as_json: bool) -> None:
    """Print every driver that uses this store, and its workers; what this machine has when there is none."""
    folder = _artifacts(store)
    drivers = running_drivers(folder)
    machine = here()
    text = "\n\n".join(map(_text, drivers)) or _nobody(store, machine)
    emit({"store": store, "drivers": [_json(d) for d in drivers], "here": machine}, text, as_json=as_json)


def _artifacts(store: str) -> Path:
    from pathlib import Path

    url = parse_url(store)
    return artifacts_folder(Path(url.database) if url.drivername == "sqlite" and url.database else None)


def _json(driver: DriverStatus) -> dict[str, Any]:
    return {**driver.model_dump(mode="json"), "age_s": round(driver.age_s, 3), "silent": driver.is_silent}


def here() -> dict[str, Any]:
    """What `--workers local` would have on this machine."""
    from agentkit.workers.gpus import visible_devices

    return {
        "cpus": available_cpus(),
        "memory": total_memory(),
        "devices": list(visible_devices(WorkersConfig().gpus)),
    }


def _nobody(store: str, here: dict[str, Any]) -> str:
    devices = ", ".join(here["devices"]) or "no GPU"
    return (
        f"no driver uses {store} now\n"
        f"this machine: {here['cpus']} CPUs, {_bytes(here['memory'])}, {devices}; workers start with a study"
    )


def _text(driver: DriverStatus) -> str:
    capacity = driver.capacity
    silent = f"; has not written for {_seconds(driver.age_s)}: gone or stuck" if driver.is_silent else ""
    lines = [
        f"driver {driver.pid} on {driver.host}: {capacity.backend}, {capacity.cpus} CPUs, "
        f"{_bytes(capacity.memory)}{' a worker' if capacity.backend == 'local' else ''}, "
        f"{', '.join(capacity.devices) or 'no GPU'}; {capacity.waiting} jobs wait{silent}"
    ]
    if driver.run is not None:
        run = driver.run
        lines.append(
            f"{run.run} of campaign {run.campaign}: {run.phase} {run.tool}, {run.done} of {run.total} units, "
            f"{_seconds(run.seconds + driver.age_s)}"
        )
    else:
        lines.append("at no run now")
    rows = [_row(worker, driver.age_s) for worker in capacity.workers]
    return "\n".join([*lines, table(rows, HEADER)])


def _row(worker: WorkerInfo, age_s: float) -> tuple[str, ...]:
    """One worker; what it runs goes on since the driver wrote."""
    return (
        worker.name,
        worker.state,
        worker.device,
        str(worker.pid or ""),
        _bytes(worker.rss) if worker.rss else "",
        worker.tool or "",
        _seconds(worker.seconds + age_s) if worker.tool else "",
        str(worker.jobs_done),
        str(worker.restarts),
        " ".join(worker.warm),
    )


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
