"""Worlds of FalseDiscoveryBench: where ideas come from, what their units look like, and which of them are true.

An idea has a kind: 0 is a true null, k > 0 an effect (larger k, larger effect), and units of paired differences D in
three metrics that agree about it. Truth is known because the law is ours: simulated, or the empirical law of a pool
of real measurements, from which a null draws two different seeds of one condition (A/A, exchangeable by construction)
and an effect draws both conditions of one seed (its mean is the pool's own mean).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agentkit.plugins import load_plugins
from agentkit.seeds import derive_seed
from agentkit.testing import run_tool
from agentkit.types import Unit

if TYPE_CHECKING:
    from pathlib import Path

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Law = Callable[[np.random.Generator, Ints, int], tuple[Floats, Bools]]
METRICS = 3
FAMILIES, GOOD_FAMILIES = 20, 4
GOOD_SHARE, POOR_SHARE = 0.5, 0.05
POOL_UNITS = 300


@dataclass(frozen=True)
class World:
    """One kind of truth.

    Attributes:
        name: how the table calls it.
        test: the ledger's test for its claims; `lo`, `hi` bound D (infinite for none).
        null_share: how many ideas are null; with `families` it is what the agent's own search meets.
        kinds: how many sizes of effect there are.
        law: (rng, kinds (campaign,), units) -> D (campaign, metric, unit) and which units fail (campaign, unit).
    """

    name: str
    test: str
    null_share: float
    kinds: int
    law: Law = field(repr=False)
    lo: float = -np.inf
    hi: float = np.inf
    families: bool = False
    units_fail: bool = False

    def draw_kinds(self, rng: np.random.Generator, family: Ints) -> Ints:
        """The kind of each campaign's next idea, from the family it was sought in."""
        share = self.null_share
        null = rng.random(len(family)) < (
            np.where(family < GOOD_FAMILIES, 1 - GOOD_SHARE, 1 - POOR_SHARE) if self.families else share
        )
        kinds: Ints = np.where(null, 0, rng.integers(1, self.kinds + 1, len(family)))
        return kinds


@dataclass
class Search:
    """Where a campaign looks next: families that gave claims before are tried more often."""

    world: World
    campaigns: int

    def __post_init__(self) -> None:
        self.tries = np.zeros((self.campaigns, FAMILIES))
        self.claims = np.zeros((self.campaigns, FAMILIES))

    def next(self, rng: np.random.Generator) -> Ints:
        """A family per campaign."""
        score = ((self.claims + 0.5) / (self.tries + 1)) ** 2
        ends = np.cumsum(score / score.sum(1, keepdims=True), axis=1)
        family: Ints = np.minimum((rng.random((self.campaigns, 1)) > ends).sum(1), FAMILIES - 1)
        return family

    def learn(self, family: Ints, claimed: Bools) -> None:
        """Remember what an idea of each family came to."""
        row = np.arange(self.campaigns)
        self.tries[row, family] += 1
        self.claims[row, family] += claimed


# ---- simulated laws


def _correlated(rng: np.random.Generator, campaigns: int, units: int) -> Floats:
    """Three metrics of one unit, standard normal, correlation .5."""
    common = rng.standard_normal((campaigns, 1, units))
    noise: Floats = np.sqrt(0.5) * (common + rng.standard_normal((campaigns, METRICS, units)))
    return noise


def gaussian(effects: Sequence[float]) -> Law:
    """Normal noise of standard deviation 1; effects in that unit."""
    sizes = np.array([0.0, *effects])

    def law(rng: np.random.Generator, kinds: Ints, units: int) -> tuple[Floats, Bools]:
        noise = _correlated(rng, len(kinds), units)
        return sizes[kinds][:, None, None] + noise, np.zeros((len(kinds), units), np.bool_)

    return law


def heavy_tailed(effects: Sequence[float]) -> Law:
    """Student's t with 3 degrees of freedom, scaled to standard deviation 1."""
    sizes = np.array([0.0, *effects])

    def law(rng: np.random.Generator, kinds: Ints, units: int) -> tuple[Floats, Bools]:
        scale = np.sqrt(rng.chisquare(3, (len(kinds), 1, units)))
        noise = _correlated(rng, len(kinds), units) / scale
        return sizes[kinds][:, None, None] + noise, np.zeros((len(kinds), units), np.bool_)

    return law


def skewed(effects: Sequence[float], *, crash_below: float = -np.inf) -> Law:
    """Mean effect plus Beta(4, 1) minus its mean: a long tail of losses, D in [-1, 1], standard deviation .163.

    Units whose D lies under `crash_below` fail: the tool breaks where the perturbation hurts most, and who leaves
    failed units out sees a gain where there is none.
    """
    sizes = np.array([0.0, *effects])

    def law(rng: np.random.Generator, kinds: Ints, units: int) -> tuple[Floats, Bools]:
        common = rng.random((len(kinds), 1, units)) < 0.5
        own = rng.beta(4, 1, (len(kinds), METRICS, units))
        noise = np.where(common, own[:, :1], own) - 0.8
        values = sizes[kinds][:, None, None] + noise
        failed: Bools = np.any(values < crash_below, axis=1)
        return values, failed

    return law


# ---- pools of real measurements


@dataclass(frozen=True)
class Pool:
    """Real values, (condition, metric, unit): the untouched target, one perturbed condition per effect, smallest first."""

    tool: str
    params: dict[str, object]
    conditions: tuple[str, ...]
    metrics: tuple[str, str, str]

    def measured(self, folder: Path, units: int = POOL_UNITS) -> Floats:
        """The values; measured once and kept in `folder`, under a name that holds everything they depend on."""
        plugins = load_plugins()
        tool = plugins.tool(self.tool)
        key = derive_seed(
            repr((self.params, self.conditions, self.metrics, tool.version, tool.source_sha256)), units
        )
        path = folder / f"pool-{self.tool}-{key}.npy"
        if path.exists():
            values: Floats = np.load(path, allow_pickle=False)
            return values
        drawn = [Unit(index=i, seed=derive_seed("false-discovery-pool", i)) for i in range(units)]
        table = run_tool(tool, self.params, drawn)
        columns = [[table.column(m, c) for m in self.metrics] for c in self.conditions]
        values = np.array(columns, np.float64)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, values)
        return values


MINILM = Pool(
    "noise.text",
    {"strengths": [0.02, 0.05, 0.1], "items": 4, "candidates": 40},
    ("baseline", "typos=0.02", "typos=0.05", "typos=0.1"),
    ("margin", "cosine", "neighbours_kept"),
)
DIGITS = Pool(
    "noise.image",
    {
        "target": "digits:cnn",
        "data": "digits:",
        "kinds": ["gaussian"],
        "strengths": [0.1, 0.2, 0.3],
        "items": 32,
    },
    ("baseline", "gaussian=0.1", "gaussian=0.2", "gaussian=0.3"),
    ("nll", "accuracy", "flip_rate"),
)


def pooled(values: Floats) -> Law:
    """The empirical law of a pool; D is turned so that the largest perturbation has a positive mean in each metric."""
    effect = values[1:] - values[0]  # (kind, metric, unit)
    turned = effect * np.sign(effect[-1].mean(axis=-1))[:, None]
    if not (turned.mean(axis=-1) > 0).all():
        raise ValueError(f"an effect of this pool is not one: means {turned.mean(axis=-1).tolist()}")
    last = values[-1]

    def law(rng: np.random.Generator, kinds: Ints, units: int) -> tuple[Floats, Bools]:
        one, other = rng.integers(0, values.shape[-1], (2, len(kinds), units))
        again = last[:, one] - last[:, other]  # (metric, campaign, unit)
        moved = np.stack([turned[max(k - 1, 0)][:, one[i]] for i, k in enumerate(kinds)])
        D = np.where((kinds == 0)[:, None, None], again.transpose(1, 0, 2), moved)
        return D, np.zeros((len(kinds), units), np.bool_)

    return law


SIMULATED = (
    World("normal, 80 % null", "sharp", 0.8, 3, gaussian((0.3, 0.5, 0.8))),
    World("normal, 50 % null", "sharp", 0.5, 3, gaussian((0.3, 0.5, 0.8))),
    World("normal, all null", "sharp", 1.0, 3, gaussian((0.3, 0.5, 0.8))),
    World("heavy tails, 90 % null", "sharp", 0.9, 3, heavy_tailed((0.3, 0.5, 0.8))),
    World("families, searched by own claims", "sharp", np.nan, 3, gaussian((0.3, 0.5, 0.8)), families=True),
    World("skewed and bounded, 80 % null", "bounded_mean", 0.8, 3, skewed((0.1, 0.2, 0.3)), -1, 1),
    World(
        "units crash where it hurts, 80 % null", "bounded_mean", 0.8, 3,
        skewed((0.1, 0.2, 0.3), crash_below=-0.25), -1, 1, units_fail=True,
    ),
)  # fmt: skip


def real_worlds(folder: Path, units: int = POOL_UNITS) -> tuple[World, ...]:
    """MiniLM on misspelt addresses and a small CNN on noisy digits: A/A nulls among real effects, and A/A alone."""
    minilm, digits = (pooled(pool.measured(folder, units)) for pool in (MINILM, DIGITS))
    return (
        World("MiniLM, A/A alone", "sharp", 1.0, 3, minilm),
        World("MiniLM, 80 % A/A", "sharp", 0.8, 3, minilm),
        World("digits CNN, 80 % A/A", "sharp", 0.8, 3, digits),
    )
