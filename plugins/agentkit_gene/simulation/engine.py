"""Running a program forward in time: chunks of cells, tiles of rows, noise shared by all conditions."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from agentkit import BASELINE
from agentkit_gene.simulation import philox
from agentkit_gene.simulation.kernels import LangevinStep, LeapStep
from agentkit_gene.simulation.model import PROTEIN, SPLICE_RATIO, SPLICED, Model
from agentkit_gene.simulation.noise import NoiseSource
from agentkit_gene.simulation.philox import LANES, Block
from agentkit_gene.simulation.production import Production

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from agentkit_gene.simulation.program import Program

CHUNK_COLUMNS = 1024
TILE_VALUES = 1 << 17
CHUNK_VALUES = 1 << 24
"""Columns a chunk, values a tile (a few tiles fit the cache), values a chunk's state may hold (64 MB)."""

SECONDS_PER_UPDATE = {"leap": 40e-9, "cle": 6e-9}
"""Rough cost of one row, cell and step on one CPU core: for estimates only."""

KEPT_SECONDS = 10.0
"""Chunks of a long simulation are made about this long, and each is kept until its unit is answered."""

BOUNDARY_STRIDE = 8
"""Hits of the clamp are counted at every 8th step."""


@dataclass(frozen=True)
class Plan:
    """How cells are simulated.

    Args:
        kernel: `leap` or `cle`.
        dt: time step.
        burn_in: time before a cell is read.
        start: time at which perturbations begin; the wild type runs until then.
        cells: cells per type.
        types: which cell types.
        sampling: `independent` (one chain a cell), `spaced` (64 chains a type, read every 3/decay),
            `trajectory` (one chain a type, read every 15 steps).
        q: noise amplitude of `cle`.
        form: `dpd`, `sp` or `spd`.
        euler: Euler-Maruyama instead of the exponential form.
        shared: common random numbers.
    """

    kernel: str
    dt: float
    burn_in: float
    cells: int
    types: tuple[int, ...]
    start: float = 0.0
    sampling: str = "independent"
    q: float = 1.0
    form: str = "dpd"
    euler: bool = False
    shared: bool = True


class Shelf(Protocol):
    """Where finished chunks of a unit are kept, in case its worker or driver dies."""

    def kept(self, name: str) -> Mapping[str, NDArray[Any]] | None:
        """What was kept under this name, or None."""

    def keep(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep arrays."""


@dataclass(frozen=True)
class Cells:
    """What cells showed when they were read.

    Attributes:
        level: (rows, types, cells) transcript level (spliced transcripts in that layer).
        other: the second species (protein, or unspliced), or None.
        boundary: (rows,) share of steps and cells that hit the clamp at 0.
    """

    level: NDArray[np.float32]
    other: NDArray[np.float32] | None
    boundary: NDArray[np.float64]


def simulate(
    model: Model,
    program: Program,
    plan: Plan,
    seed: int,
    *,
    device: str = "cpu",
    columns: int | None = None,
    tick: Callable[[int, int], None] = lambda done, total: None,
    shelf: Shelf | None = None,
) -> Cells:
    """Cells of every row of a program for one unit.

    Args:
        model: frozen kinetics and start levels.
        program: rows of the baseline and the conditions; of one condition alone when noise is not shared.
        plan: kernel, step, cells.
        seed: the unit's.
        device: where the states live.
        columns: cells at once, a multiple of 64; chosen by size when None. Never changes a value.
        tick: told (chunks done, chunks).
        shelf: keeps finished chunks of a simulation that takes long; never changes a value.
    """
    if not plan.shared and len(program.conditions) > 1:
        raise ValueError("without shared noise every condition is simulated by a program of its own")
    chains = {"independent": math.ceil(plan.cells / LANES)}.get(plan.sampling, 1)
    blocks = [(t, b) for t in plan.types for b in range(chains)]
    lane_s = program.n_rows * LANES * _n_steps(plan, program) * SECONDS_PER_UPDATE.get(plan.kernel, 0.0)
    if shelf is not None and lane_s * len(blocks) > KEPT_SECONDS:
        most = max(1, int(KEPT_SECONDS / lane_s)) * LANES
        columns = min(columns or _columns(program.n_rows), most)
    else:
        shelf = None
    per_chunk = max(1, (columns or _columns(program.n_rows)) // LANES)
    shape = (program.n_rows, len(plan.types), plan.cells)
    level = np.empty(shape, dtype=np.float32)
    other = np.empty(shape, dtype=np.float32) if model.layers != "mrna" else None
    hits = np.zeros(program.n_rows)
    chunks = [blocks[i : i + per_chunk] for i in range(0, len(blocks), per_chunk)]
    with one_thread():
        for done, chunk in enumerate(chunks):
            read = partial(_read_chunk, model, program, plan, seed, chunk, device)
            found = read() if shelf is None else _from_shelf(shelf, f"cells {chunk}", read)
            for k, x in enumerate(found["first"]):
                _store(level, x, k, chunk, plan)
            for k, y in enumerate(found["second"]):
                if other is not None:
                    _store(other, y, k, chunk, plan)
            hits += found["boundary"] * len(chunk) / len(blocks)
            tick(done + 1, len(chunks))
    if model.layers == SPLICED and other is not None:
        level, other = other, level
    return Cells(level, other, hits)


def _read_chunk(
    model: Model, program: Program, plan: Plan, seed: int, chunk: Sequence[Block], device: str
) -> dict[str, NDArray[Any]]:
    """Readings of a chunk: `first` and `second` species (readings, rows, blocks, lanes), and `boundary` (rows,)."""
    run = _Chunk(model, program, plan, seed, chunk, device)
    read = [(x.copy(), None if y is None else y.copy()) for x, y in run.samples()]
    second = [y for _, y in read if y is not None]
    return {
        "first": np.stack([x for x, _ in read]),
        "second": np.stack(second) if second else np.zeros((0, 0)),
        "boundary": run.boundary(),
    }


def _from_shelf(
    shelf: Shelf, name: str, read: Callable[[], dict[str, NDArray[Any]]]
) -> Mapping[str, NDArray[Any]]:
    found = shelf.kept(name)
    if found is None:
        found = read()
        shelf.keep(name, found)
    return found


def _n_steps(plan: Plan, program: Program) -> int:
    return _steps_read(plan, float(program.decay.min()))[-1]


def _columns(n_rows: int) -> int:
    return max(LANES, min(CHUNK_COLUMNS, CHUNK_VALUES // n_rows // LANES * LANES))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: a parallel split may end inside a vector, where rounding differs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _store(
    out: NDArray[np.float32], x: NDArray[np.float32], k: int, chunk: Sequence[Block], plan: Plan
) -> None:
    """Put the k-th reading of a chunk, (rows, blocks, lanes), where its cells belong."""
    for b, (cell_type, block) in enumerate(chunk):
        t = plan.types.index(cell_type)
        if plan.sampling == "trajectory":
            out[:, t, k] = x[:, b, 0]
            continue
        first = (block + k) * LANES
        out[:, t, first : first + LANES] = x[:, b, : max(0, plan.cells - first)]


class _Chunk:
    """One chunk of cells on its way: state, constants of each row, and the steps at which cells are read."""

    def __init__(
        self, model: Model, program: Program, plan: Plan, seed: int, blocks: Sequence[Block], device: str
    ) -> None:
        self.model, self.plan, self.seed, self.blocks, self.device = model, plan, seed, blocks, device
        self.program = program
        self.n_columns = len(blocks) * LANES
        self._steps_read = _steps_read(plan, float(program.decay.min()))
        n_species = program.n_genes * (1 if model.layers == "mrna" else 2)
        owner = "" if plan.shared or program.conditions[0] == BASELINE else program.conditions[0]
        self.noise = NoiseSource(seed, blocks, n_species, owner, device)
        self.stage = _Stage(self, program)
        self._counted = 0
        self._hits = torch.zeros(program.n_rows, dtype=torch.float64)

    def boundary(self) -> NDArray[np.float64]:
        """Share of counted (cell, step) pairs of each row that hit the clamp."""
        return (self._hits / max(1, self._counted * self.n_columns)).numpy()

    def samples(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
        """Levels (rows, blocks, lanes) of the first and second species at each reading."""
        x, y = self._initial()
        begin = round(self.plan.start / self.plan.dt)
        if begin > 0:
            x, y = self._wild_type_until(begin)
        for step in range(begin, self._steps_read[-1]):
            hit = self.stage.advance(x, y, step, count=step % BOUNDARY_STRIDE == 0)
            if hit is not None:
                self._hits += hit
                self._counted += 1
            for _ in range(self._steps_read.count(step + 1)):
                yield self._blocks(x), None if y is None else self._blocks(y)

    def _wild_type_until(self, begin: int) -> tuple[Tensor, Tensor | None]:
        """The state of every row at `begin`, all still the wild type."""
        bare = self.model.program([])
        stage = _Stage(self, bare)
        x, y = self._initial(bare)
        for step in range(begin):
            stage.advance(x, y, step)
        position = bare.baseline_rows()[self.program.gene]
        return x[position].clone(), None if y is None else y[position].clone()

    def _initial(self, program: Program | None = None) -> tuple[Tensor, Tensor | None]:
        p = program or self.program
        start = self.model.start[p.gene][:, [t for t, _ in self.blocks]]
        second = None
        if self.model.layers == PROTEIN:
            second = start * (p.translation / p.protein_decay)[:, None]
        elif self.model.layers == SPLICED:
            second = start * SPLICE_RATIO
        if self.plan.kernel == "leap":
            start, second = np.rint(start), None if second is None else np.rint(second)
        return self._spread(start), None if second is None else self._spread(second)

    def _spread(self, by_block: NDArray[np.float64]) -> Tensor:
        values = torch.as_tensor(by_block, dtype=torch.float32, device=self.device)
        return values[:, :, None].expand(-1, -1, LANES).reshape(len(values), -1).clone()

    def _blocks(self, x: Tensor) -> NDArray[np.float32]:
        return x.view(len(x), len(self.blocks), LANES).cpu().numpy()


def _steps_read(plan: Plan, slowest: float) -> list[int]:
    first = max(1, round(plan.burn_in / plan.dt))
    if plan.sampling == "independent":
        return [first]
    if plan.sampling == "spaced":
        apart = max(1, math.ceil(3 / slowest / plan.dt))
        return [first + k * apart for k in range(math.ceil(plan.cells / LANES))]
    return [first + 15 * k for k in range(plan.cells)]


class _Stage:
    """The stepper of one program on one chunk: constants by row, cut into tiles."""

    def __init__(self, chunk: _Chunk, program: Program) -> None:
        self.chunk, self.program, self.plan = chunk, program, chunk.plan
        p, device = program, chunk.device
        self.production = Production(
            p, [t for t, _ in chunk.blocks], width=LANES, dtype=torch.float32, device=device
        )
        decay = self._column(p.decay)
        self._step = self._stepper(decay)
        self._second: LangevinStep | LeapStep | None = None
        if chunk.model.layers != "mrna":
            spliced = chunk.model.layers == SPLICED
            self._made = self._column(p.decay if spliced else p.translation)
            self._second = self._stepper(self._column(p.decay / SPLICE_RATIO if spliced else p.protein_decay))
        self._changed = (p.scale != 1) | (p.added != 0)
        self._scale, self._added = self._column(p.scale), self._column(p.added)
        self._held = ~np.isnan(p.clamp)
        self._clamp = self._column(p.clamp)
        self._guides = self._guide_factors()
        self._noise_row = torch.as_tensor(p.gene, device=device)
        rows = max(1, TILE_VALUES // chunk.n_columns)
        self._tiles = [(a, min(a + rows, p.n_rows)) for a in range(0, p.n_rows, rows)]

    def _column(self, values: NDArray[np.float64]) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.chunk.device)[:, None]

    def _stepper(self, decay: Tensor) -> LangevinStep | LeapStep:
        if self.plan.kernel == "leap":
            return LeapStep.of(decay, self.plan.dt)
        return LangevinStep.of(decay, self.plan.dt, self.plan.q, self.plan.form, euler=self.plan.euler)

    def advance(self, x: Tensor, y: Tensor | None, step: int, *, count: bool = False) -> Tensor | None:
        """One step of every row, in place; the number of clamp hits by row when `count`."""
        levels = y if y is not None and self.chunk.model.layers == PROTEIN else x
        features = self.production.features(levels)
        hits = []
        for first, last in self._tiles:
            rate = self._perturbed(self.production.rates(features, first, last), first, last)
            made = None if y is None else x[first:last] * self._made[first:last]
            hit = self._update(self._step, x, rate, step, first, last, 0, count)
            if y is not None and made is not None and self._second is not None:
                self._update(self._second, y, made, step, first, last, 1, False)
            if count and hit is not None:
                hits.append(hit.sum(dim=1, dtype=torch.float64).cpu())
            if self._held[first:last].any():
                self._hold(x, first, last)
        return torch.cat(hits) if hits else None

    def _perturbed(self, rate: Tensor, first: int, last: int) -> Tensor:
        if self._changed[first:last].any():
            rate = rate.mul_(self._scale[first:last]).add_(self._added[first:last])
        for row, factor in self._guides.items():
            if first <= row < last:
                rate[row - first] = (rate[row - first] - self._added[row]) * factor + self._added[row]
        return rate

    def _update(
        self,
        stepper: LangevinStep | LeapStep,
        x: Tensor,
        rate: Tensor,
        step: int,
        first: int,
        last: int,
        layer: int,
        count: bool,
    ) -> Tensor | None:
        rows = self._noise_row[first:last] + layer * self.program.n_genes
        noise, view = self.chunk.noise, x[first:last]
        if isinstance(stepper, LangevinStep):
            z = noise.normals("noise", step).index_select(0, rows)
            return stepper.advance(view, rate, z, first, last, count=count)

        def part(purpose: str) -> Callable[[int], Tensor]:
            return lambda k: noise.uniforms(f"{purpose}.{k}", step).index_select(0, rows)

        stepper.advance(view, rate, part("death"), part("birth"), first, last)
        return None

    def _hold(self, x: Tensor, first: int, last: int) -> None:
        for row in np.flatnonzero(self._held[first:last]) + first:
            x[row] = self._clamp[row]

    def _guide_factors(self) -> dict[int, Tensor]:
        """Per row with a knock-down, the factor of each cell: product of (1 - efficacy), drawn by cell."""
        factors = {}
        for row, guides in self.program.knockdowns.items():
            gene = int(self.program.gene[row])
            factor = torch.ones(self.chunk.n_columns, dtype=torch.float64)
            for m, (efficacy, share) in enumerate(guides):
                factor *= 1 - guide_efficacy(
                    self.chunk.seed, self.chunk.blocks, m * self.program.n_genes + gene, efficacy, share
                )
            factors[row] = factor.to(torch.float32).to(self.chunk.device)
        return factors


GUIDE_CONCENTRATION = 20.0


def guide_efficacy(seed: int, blocks: Sequence[Block], place: int, efficacy: float, share: float) -> Tensor:
    """Efficacy of a guide in each cell: 0 in a share 1 - `share` of cells, else Beta(mean, concentration 20).

    Drawn by inverse CDF from the stream `guide`, so a stronger guide is stronger in every cell.
    """
    from scipy.special import betaincinv

    key = philox.stream_key(seed, "guide")
    u = philox.uniforms(key, blocks, 2 * place, 2).view(2, -1).numpy()
    drawn = np.full(u.shape[1], efficacy)
    if 0 < efficacy < 1:
        a, b = efficacy * GUIDE_CONCENTRATION, (1 - efficacy) * GUIDE_CONCENTRATION
        drawn = betaincinv(a, b, u[0])
    return torch.from_numpy(np.where(u[1] < share, drawn, 0.0))
