"""The truth that predictions are scored against: moments of log expression of every perturbation, from cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agentkit.errors import TargetUnavailableError
from agentkit_gene.simulation.cell_table import CONTROL, read_cells
from agentkit_gene.simulation.errors import BadPerturbationError, BadTruthError
from agentkit_gene.simulation.perturbation import CONTROL_NAMES, parse_perturbation
from agentkit_gene.simulation.scores import Truth, welch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from agentkit_gene.simulation.program import Floats

COMPONENTS = 10
"""Principal components of the control cells in which clouds are compared."""

SIZE_FACTOR = 1e4


@dataclass(frozen=True)
class Group:
    """Log expression of the cells of one perturbation: moments, of all cells and of two random halves, and a projection.

    Attributes:
        mean, var: (genes,); halves: two (mean, var, cells).
        cells: how many.
        scores: (cells, components) on the control's principal axes.
    """

    mean: Floats
    var: Floats
    cells: int
    halves: tuple[tuple[Floats, Floats, int], tuple[Floats, Floats, int]]
    scores: Floats


@dataclass(frozen=True)
class Panel:
    """Every perturbation of an experiment against its control.

    Attributes:
        genes: names.
        groups: by perturbation name, without the control.
        control: the control's group.
        axes: (components, genes) principal axes of the control cells' log expression; centre: (genes,).
    """

    genes: tuple[str, ...]
    groups: Mapping[str, Group]
    control: Group
    axes: Floats
    centre: Floats

    def delta(self, name: str) -> Floats:
        """Change of mean log expression, (genes,)."""
        return self.groups[name].mean - self.control.mean

    def truth(self, names: Sequence[str], half: int | None = None) -> Truth:
        """The held-out perturbations as scores need them; from one half of the cells when `half` is 0 or 1."""
        parts = [
            (g.mean, g.var, g.cells) if half is None else g.halves[half]
            for g in (self.groups[n] for n in names)
        ]
        c = self.control
        tests = [welch(m, v, n, c.mean, c.var, c.cells) for m, v, n in parts]
        mean = np.array([m for m, _, _ in parts])
        return Truth(
            mean - c.mean,
            mean,
            np.array([t for t, _ in tests]),
            np.array([s for _, s in tests]),
            self.targeted(),
        )

    def targeted(self) -> NDArray[np.bool_]:
        """Genes that some perturbation of the panel targets."""
        named = {g for name in self.groups for g in genes_of(name)}
        return np.array([g in named for g in self.genes])


def genes_of(name: str) -> tuple[str, ...]:
    """Genes a perturbation's name speaks of; a name that is no perturbation string is one gene."""
    try:
        return tuple(dict.fromkeys(p.gene for p in parse_perturbation(name).parts))
    except BadPerturbationError:
        return (name,)


def single_of(name: str) -> tuple[str, ...]:
    """Names of the single perturbations a combination is made of."""
    try:
        return tuple(str(p) for p in parse_perturbation(name).parts)
    except BadPerturbationError:
        return (name,)


def build_panel(genes: Sequence[str], cells: Mapping[str, Floats], rng: np.random.Generator) -> Panel:
    """A panel from log expression (cells, genes) by perturbation; the control is named `control`.

    Raises:
        BadTruthError: no control, a perturbation with fewer than two cells, or no perturbation.
    """
    if CONTROL not in cells:
        raise BadTruthError(
            f"the truth has no control cells; name them one of {sorted(CONTROL_NAMES - {''})}"
        )
    for name, x in cells.items():
        if len(x) < 4:
            raise BadTruthError(
                f"perturbation {name!r} has {len(x)} cells; at least 4 are needed (two halves of two)"
            )
    control = cells[CONTROL]
    centre = control.mean(axis=0)
    axes = np.linalg.svd(control - centre, full_matrices=False)[2][:COMPONENTS]
    groups = {n: _group(x, centre, axes, rng) for n, x in cells.items()}
    own = groups.pop(CONTROL)
    if not groups:
        raise BadTruthError("the truth has control cells only")
    return Panel(tuple(genes), groups, own, axes, centre)


def _group(x: Floats, centre: Floats, axes: Floats, rng: np.random.Generator) -> Group:
    order = rng.permutation(len(x))
    first, second = (x[np.sort(part)] for part in np.array_split(order, 2))
    halves = tuple((h.mean(axis=0), h.var(axis=0, ddof=1), len(h)) for h in (first, second))
    return Group(x.mean(axis=0), x.var(axis=0, ddof=1), len(x), (halves[0], halves[1]), (x - centre) @ axes.T)


def log_expression(x: NDArray[np.float32], *, counts: bool) -> Floats:
    """log1p of cells (cells, genes); counts are first scaled to 10 000 a cell (an empty cell stays empty)."""
    wide = x.astype(np.float64)
    if counts:
        total = wide.sum(axis=1, keepdims=True)
        wide = wide * np.divide(SIZE_FACTOR, total, out=np.zeros_like(total), where=total > 0)
    return np.asarray(np.log1p(wide))


def panel_of_file(path: Path, rng: np.random.Generator) -> Panel:
    """The panel of an `.npz` or `.h5ad` with fields X, var_names and perturbation.

    Whole numbers are taken for counts, unless the file says that it holds simulated levels.

    Raises:
        TargetUnavailableError: no such file. BadTruthError: a field is missing, or as `build_panel`.
    """
    if not path.is_file():
        raise TargetUnavailableError(f"no truth file {path}")
    arrays = read_cells(path)
    for field in ("X", "perturbation", "var_names"):
        if field not in arrays:
            raise BadTruthError(
                f"{path}: field {field!r} is missing; X, perturbation and var_names are needed"
            )
    x = arrays["X"]
    if not np.isfinite(x).all() or (x < 0).any():
        raise BadTruthError(f"{path}: X holds NaN, infinite or negative values; expression is expected")
    levels = "uns" in arrays and '"technical": null' in str(arrays["uns"])
    log = log_expression(x, counts=bool(np.array_equal(x, np.rint(x))) and not levels)
    labels = np.array([CONTROL if str(n) in CONTROL_NAMES else str(n) for n in arrays["perturbation"]])
    cells = {str(n): log[labels == n] for n in dict.fromkeys(labels)}
    return build_panel([str(g) for g in arrays["var_names"]], cells, rng)
