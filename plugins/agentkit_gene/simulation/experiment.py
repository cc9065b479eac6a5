"""One unit of an experiment: the baseline and every condition, in groups that fit in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from agentkit import BASELINE
from agentkit_gene.simulation.distances import Cloud
from agentkit_gene.simulation.engine import SECONDS_PER_UPDATE, Plan, simulate
from agentkit_gene.simulation.errors import TooLargeError
from agentkit_gene.simulation.params import Technical, refuse_boundary
from agentkit_gene.simulation.perturbation import Effect
from agentkit_gene.simulation.readout import Reader, View, rows_by_gene
from agentkit_gene.simulation.technical import Sequencer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agentkit_gene.simulation.engine import Shelf
    from agentkit_gene.simulation.model import Model
    from agentkit_gene.simulation.network import Network
    from agentkit_gene.simulation.perturbation import Perturbation
    from agentkit_gene.simulation.program import Program

GROUP_BYTES = 256 << 20
"""Levels of one group of conditions; a screen of any width keeps this much and the moments."""

BYTES_PER_VALUE = 12


@dataclass(frozen=True)
class Experiment:
    """What is done to which network, and how cells are made and read.

    Attributes:
        everything: simulate every gene in every condition instead of only those a perturbation reaches.
    """

    model: Model
    plan: Plan
    perturbations: Sequence[Perturbation]
    read: Sequence[int]
    threshold: np.ndarray
    technical: Technical | None = None
    everything: bool = False
    device: str = "cpu"

    def effects(self) -> list[tuple[str, Effect]]:
        """(name, effect) in order."""
        return self.model.effects(self.perturbations)

    def row_counts(self) -> list[int]:
        """Rows of each condition, in order."""
        return row_counts(self.model.network, self.plan, self.perturbations, everything=self.everything)

    def run(
        self,
        seed: int,
        tick: Callable[[int, int], None] = lambda done, total: None,
        *,
        distances: bool = True,
        shelf: Shelf | None = None,
    ) -> Iterator[tuple[Reader, str, View]]:
        """(reader, condition name, view) of the baseline and then of every condition of one unit.

        Views are made group by group and may be dropped once read; `shelf` keeps finished chunks of long groups.
        """
        reader: Reader | None = None
        sequencer: Sequencer | None = None
        for program, views in self._programs(seed, tick, shelf):
            names = list(program.conditions)
            if reader is None:
                baseline = next(views)
                names.pop(0)
                refuse_boundary(float(baseline.boundary.mean()), self.plan)
                if self.technical is not None:
                    sequencer = Sequencer.of(self.technical, seed, self.plan.types, baseline.level)
                reader = self._reader(baseline, sequencer, distances)
                latent = baseline.level
                yield reader, BASELINE, reader.baseline_view()
            elif names[0] == BASELINE:
                next(views)
                names.pop(0)
            for name, view in zip(names, views, strict=True):
                yield reader, name, view if sequencer is None else _sequenced(sequencer, latent, view)

    def _programs(
        self, seed: int, tick: Callable[[int, int], None], shelf: Shelf | None
    ) -> Iterator[tuple[Program, Iterator[View]]]:
        """Programs that fit in memory, simulated, with the views of their conditions; the baseline's comes first.

        Conditions with noise of their own get a program each.
        """
        effects = self.effects()
        if self.plan.shared:
            per_row = self.plan.cells * len(self.plan.types) * BYTES_PER_VALUE
            groups = _groups(self.row_counts(), len(self.model.network.genes), per_row)
            makers = [
                partial(self.model.program, [effects[i] for i in g], everything=self.everything)
                for g in groups
            ]
        else:
            makers = [partial(self.model.program, [], base=e) for e in [(BASELINE, Effect()), *effects]]
        for done, make in enumerate(makers):
            program = make()
            cells = simulate(
                self.model,
                program,
                self.plan,
                seed,
                device=self.device,
                tick=_within(tick, done, len(makers)),
                shelf=None if shelf is None else _Part(shelf, done),
            )
            yield program, _views(program, cells.level, cells.boundary)

    def _reader(self, baseline: View, sequencer: Sequencer | None, distances: bool) -> Reader:
        level = baseline.level if sequencer is None else sequencer.counts(baseline.level)
        scale = self.model.scale
        if sequencer is not None:  # counts live on another scale than levels
            scale = np.maximum(level.mean(axis=(1, 2), dtype=np.float64), 1.0)
        paired = distances and self.plan.sampling != "trajectory"
        clouds = [Cloud.of(level[:, t]) for t in range(level.shape[1])] if paired else []
        return Reader(level, baseline.boundary, self.read, scale, self.threshold, clouds)


@dataclass(frozen=True)
class _Part:
    """The shelf of one group of conditions."""

    shelf: Shelf
    group: int

    def kept(self, name: str) -> Mapping[str, np.ndarray] | None:
        return self.shelf.kept(f"group {self.group} {name}")

    def keep(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        self.shelf.keep(f"group {self.group} {name}", arrays)


def row_counts(
    network: Network, plan: Plan, perturbations: Sequence[Perturbation], *, everything: bool = False
) -> list[int]:
    """Rows each perturbation needs: every gene it can reach, or all of them."""
    if everything or not plan.shared:
        return [len(network.genes)] * len(perturbations)
    return [len(network.descendants(p.touched)) for p in perturbations]


def require_memory(network: Network, plan: Plan, perturbations: Sequence[Perturbation], limit: int) -> None:
    """Refuse a job that would not fit, before anything is solved or simulated.

    Raises:
        TooLargeError: with the memory of the largest group of conditions, the time of a unit, and what to lower.
    """
    per_row = plan.cells * len(plan.types) * BYTES_PER_VALUE
    counts, n = row_counts(network, plan, perturbations), len(network.genes)
    groups = _groups(counts, n, per_row)
    need = per_row * (n + max(sum(counts[i] for i in g) for g in groups))
    if need <= limit:
        return
    rows = n * len(groups) + sum(counts)
    updates = rows * plan.burn_in / plan.dt * len(plan.types) * -(-plan.cells // 64) * 64
    seconds = updates * SECONDS_PER_UPDATE.get(plan.kernel, 0.0)
    raise TooLargeError(
        f"{n} genes x {plan.cells} cells x {len(plan.types)} types need about {need / 2**30:.1f} GiB and {seconds:.0f} s a "
        f"unit; {limit / 2**30:.1f} GiB are declared. Lower cells, or give fewer types or genes"
    )


def _groups(counts: Sequence[int], genes: int, bytes_per_row: int) -> list[list[int]]:
    """Conditions in groups whose rows fit `GROUP_BYTES`; a group holds at least one. Never changes a value."""
    limit = max(GROUP_BYTES // bytes_per_row, 2 * genes)
    groups: list[list[int]] = [[]]
    rows = genes
    for i, count in enumerate(counts):
        if groups[-1] and rows + count > limit:
            groups.append([])
            rows = genes
        groups[-1].append(i)
        rows += count
    return groups


def _views(program: Program, level: np.ndarray, boundary: np.ndarray) -> Iterator[View]:
    for row_of in program.row_of:
        genes, rows = rows_by_gene(row_of)
        yield View(genes, level[rows], boundary[rows])


def _sequenced(sequencer: Sequencer, baseline: np.ndarray, view: View) -> View:
    whole = baseline.copy()
    whole[view.genes] = view.level
    boundary = np.zeros(len(whole))
    boundary[view.genes] = view.boundary
    return View(np.arange(len(whole)), sequencer.counts(whole), boundary)


def _within(tick: Callable[[int, int], None], group: int, groups: int) -> Callable[[int, int], None]:
    return lambda done, total: tick(group * total + done, groups * total)
