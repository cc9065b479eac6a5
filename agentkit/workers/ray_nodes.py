"""`Nodes`: what the driver knows of a Ray cluster without asking it more often than it must."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agentkit.errors import UnsatisfiableError, WorkerError
from agentkit.workers import ray_cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.workers.job import JobSpec
    from agentkit.workers.ray_cluster import Node
    from agentkit.workers.ray_worker import Shape

NODES_S = 1.0
HEAD_S = 5.0
TINY = 1e-9


class Nodes:
    """The alive nodes as they were last seen. Asking a cluster whose head is gone would end this whole program."""

    def __init__(self) -> None:
        self.head = ray_cluster.head_address()
        self.known: list[Node] = ray_cluster.alive_nodes()
        self._asked_at = time.monotonic()

    @property
    def gone(self) -> str:
        """What is said when the head is."""
        return f"the Ray cluster at {self.head} is gone; start it again and resume"

    def look(self, at_most_every_s: float = NODES_S) -> list[Node]:
        """The alive nodes, asked at most so often.

        Raises:
            WorkerError: the head is gone. Asked then, Ray would wait for a minute and end this whole program.
        """
        if time.monotonic() - self._asked_at > at_most_every_s:
            if ray_cluster.is_gone(self.head):
                raise WorkerError(self.gone)
            self.known, self._asked_at = ray_cluster.alive_nodes(), time.monotonic()
        return self.known

    def require_satisfiable(self, job: JobSpec, shape: Shape) -> None:
        """Refuse a job that no node could ever run.

        Raises:
            UnsatisfiableError: naming what it needs and what the largest node has.
            WorkerError: the head is gone.
        """
        try:
            ray_cluster.require_satisfiable(job, *shape, self.known)
        except UnsatisfiableError:  # a node may have joined a moment ago
            if ray_cluster.is_gone(self.head):
                raise WorkerError(self.gone) from None
            ray_cluster.require_satisfiable(job, *shape, ray_cluster.alive_nodes())

    def room_for(self, shape: Shape, held: Sequence[Shape]) -> bool:
        """Whether one more actor of this shape fits beside those that are there, over all nodes."""
        held_cpus, held_gpus = (sum(other[i] for other in held) for i in (0, 1))
        fits = held_cpus + shape[0] <= sum(n.cpus for n in self.known) + TINY
        return fits and held_gpus + shape[1] <= sum(n.gpus for n in self.known) + TINY

    def one_could_hold(self, shape: Shape) -> bool:
        """Whether some node alone is large enough."""
        return any(n.cpus >= shape[0] and n.gpus >= shape[1] for n in self.known)
