"""Starting or joining a Ray cluster, and what it could ever satisfy.

Ray unpickles what reaches its ports, and it listens on all interfaces of a node: use it on a private network only.
A cluster started here asks for a token that only this process and its children know.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from agentkit.errors import UnsatisfiableError, WorkerError
from agentkit.workers.environment import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agentkit.workers.config import WorkersConfig
    from agentkit.workers.job import JobSpec

NAMESPACE = "agentkit"
CONNECT_S = 10.0
logger = logging.getLogger(__name__)


class Node(NamedTuple):
    """What one alive node of the cluster offers in all, used or not."""

    node_id: str
    address: str
    cpus: float
    gpus: float
    memory: float


@contextmanager
def environment_for_ray(token: str | None) -> Iterator[None]:
    """Inside, this process shows Ray only harmless variables and the token: Ray hands all it sees to every worker."""
    before = dict(os.environ)
    kept = clean_environment(before, folder=before.get("TMPDIR", "/tmp"), mark="")  # noqa: S108 - Ray's own default
    kept = {k: v for k, v in kept.items() if k in before}
    ray_settings = {k: v for k, v in before.items() if k.startswith("RAY_")}
    os.environ.clear()
    os.environ.update(
        {
            **kept,
            **ray_settings,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            **({} if token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}),
        }
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


_token = secrets.token_hex(32)
"""One for this process: Ray reads its settings when it is first imported, and keeps them."""


def start_cluster(cpus: int, object_store_bytes: int = 128 << 20) -> None:
    """Start Ray on this machine with a token of our own, without its dashboard and its usage reports.

    Where the program imported ray before, without `RAY_AUTH_MODE=token`, Ray can no longer be told to ask for
    a token; that is logged, and the cluster is as open as the program made it.
    """
    with_token = "ray" not in sys.modules or _asks_for_token()
    if not with_token:
        logger.warning("ray was imported before agentkit started it: this cluster asks for no token")
    with environment_for_ray(os.environ.get("RAY_AUTH_TOKEN", _token) if with_token else None):
        import ray

        ray.init(
            address="local",  # never somebody else's cluster that happens to run here
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            object_store_memory=object_store_bytes,
            namespace=NAMESPACE,
        )


def _keep_stdout_clean() -> None:
    """Ray prints its nodes' complaints to stdout, where our results go, and has no switch for it."""
    ray_worker = sys.modules.get("ray._private.worker")
    if hasattr(ray_worker, "print_to_stdstream"):
        ray_worker.print_to_stdstream = _log_lines  # type: ignore[union-attr]  # looked up just before


def _log_lines(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    for line in data.get("lines", ()):
        logger.info("ray: %s", line)


def _asks_for_token() -> bool:
    """Whether the ray that is already imported was told to ask for one; it no longer listens to us."""
    try:
        from ray._private.authentication.authentication_utils import is_token_auth_enabled
    except ImportError:
        return False
    return bool(is_token_auth_enabled())


def connect(config: WorkersConfig) -> bool:
    """Use the Ray this process is connected to already, else join or start one; whether we did that."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        return False
    on_uncaught = sys.excepthook
    if config.address is None:
        start_cluster(config.workers)
    else:
        join_cluster(config.address)
    sys.excepthook = on_uncaught  # Ray's own reports to the head first, and says nothing when that is gone
    _keep_stdout_clean()
    return True


def join_cluster(address: str) -> None:
    """Connect to a running cluster; its token is read by Ray from `RAY_AUTH_TOKEN` or its own file.

    Raises:
        WorkerError: nobody answers at this address, or the token is wrong.
    """
    _require_listener(address)
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, namespace=NAMESPACE)
    except Exception as error:
        raise WorkerError(
            f"no Ray cluster at {address} ({type(error).__name__}: {_first_line(error)}). Start one with "
            "`ray start --head`, and set RAY_AUTH_MODE and RAY_AUTH_TOKEN as it has them"
        ) from error


def _require_listener(address: str) -> None:
    """Ray itself waits for minutes where nobody listens; a refused connection says so at once."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise WorkerError(
            f"workers.address {address!r}: write HOST:PORT of the head node, for example head:6379"
        )
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise WorkerError(
            f"no Ray cluster at {address} ({error}). Start one there with: ray start --head --port={port}"
        ) from None


def head_address() -> str:
    """`HOST:PORT` of the head this process is connected to."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


def is_gone(address: str) -> bool:
    """Whether the head refuses connections. Ray ends this whole program a minute after its head is gone."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except ConnectionRefusedError:
        return True
    except Exception as error:  # noqa: BLE001 - slow, or a firewall: not known to be gone
        logger.debug("asking %s: %s", address, error)
    return False


def alive_nodes() -> list[Node]:
    """The nodes that Ray believes to be alive; a killed one may still be among them for some seconds."""
    import ray

    list_nodes: Any = ray.nodes  # Ray ships no type for it
    try:
        nodes = list_nodes()
    except Exception as error:
        raise WorkerError(
            f"the Ray cluster does not answer ({_first_line(error)}); resume when it is back"
        ) from error
    return [
        Node(
            n["NodeID"],
            n["NodeManagerAddress"],
            n["Resources"].get("CPU", 0.0),
            n["Resources"].get("GPU", 0.0),
            n["Resources"].get("memory", 0.0),
        )
        for n in nodes
        if n["Alive"]
    ]


def require_satisfiable(job: JobSpec, cpus: int, gpus: float, nodes: list[Node]) -> None:
    """Raise `UnsatisfiableError` when no single node could ever run the job; a busy one is no reason.

    A sum over nodes would lie: two nodes with one GPU each never run a job that needs two.
    """
    if not nodes:
        raise UnsatisfiableError(f"{job.tool}: the cluster has no alive node")
    if any(n.cpus >= cpus and n.gpus >= gpus and n.memory >= job.resources.memory for n in nodes):
        return
    wants: list[tuple[float, str, str, float]] = [(cpus, "CPUs", "cpus", max(n.cpus for n in nodes))]
    wants += [(gpus, "GPUs", "gpus", max(n.gpus for n in nodes))]
    wants += [(job.resources.memory / 2**30, "GiB", "memory", max(n.memory for n in nodes) / 2**30)]
    for need, what, field, most in wants:
        if need > most:
            raise UnsatisfiableError(
                f"{job.tool} needs {need:g} {what}; the largest of {len(nodes)} nodes has {most:g}. "
                f"Lower resources.{field} or add a node"
            )
    raise UnsatisfiableError(
        f"{job.tool} needs {cpus} CPUs, {gpus:g} GPUs and {job.resources.memory / 2**30:g} GiB on one node; "
        f"none of {len(nodes)} nodes has all of it"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
