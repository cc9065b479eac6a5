"""`screen:sim`: effects are those of the simulation, prior knowledge has the quality it claims, noise follows the gene."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from agentkit import Unit
from agentkit.errors import ParamError, TargetError
from agentkit_gene.loop.closed_loop import ClosedLoop
from agentkit_gene.loop.features import build_knowledge
from agentkit_gene.loop.pickers import make_picker
from agentkit_gene.screens.simulated import SimulatedScreen, simulate_screen
from agentkit_gene.screens.target import ScreenTarget, screen, screen_fingerprint
from agentkit_gene.simulation.generator import scale_free
from agentkit_gene.simulation.tools import effect_map
from tests.gene.kit import Bench, run


def simulated(seed: int = 3, **options: float) -> SimulatedScreen:
    return simulate_screen(**{"genes": 200, "seed": seed, "noise": 0.3, "prior": 0.6, **options})


def target(rest: str) -> ScreenTarget:
    return screen.load(rest, "cpu")


def test_effects_are_those_of_the_simulations_own_map() -> None:
    truth = simulated()
    bench = Bench()
    run(effect_map, bench=bench, target="grn:scalefree?genes=200&seed=3", genes="all", max_conditions=200)
    with np.load(bench.files["effects.npz"]) as kept:
        column = kept["gene"].tolist().index(truth.reporter)
        mapped = dict(zip(kept["condition"].tolist(), kept["log2_change"][:, column], strict=True))
    assert truth.effect == pytest.approx(
        [mapped[f"KO:{g}@1"] if f"KO:{g}@1" in mapped else mapped[f"KO:{g}"] for g in truth.genes], abs=1e-8
    )
    assert 3 <= np.count_nonzero(truth.effect) < 60


def test_hits_are_the_largest_effects_and_never_a_zero_one() -> None:
    truth = simulated()
    size = np.abs(truth.effect)
    assert 1 <= truth.hits.sum() <= 10
    assert (size[truth.hits] > 0).all()
    assert size[truth.hits].min() >= size[~truth.hits].max()


def test_the_same_options_give_the_same_screen_and_hash_and_others_do_not() -> None:
    one, two, other = simulated(), simulated(), simulated(seed=4)
    assert one.effect.tobytes() == two.effect.tobytes()
    assert one.knowledge.sets == two.knowledge.sets
    assert one.knowledge.edges == two.knowledge.edges
    assert other.effect.tobytes() != one.effect.tobytes()
    assert screen_fingerprint("sim?genes=200&seed=3") == screen_fingerprint("sim?seed=3&genes=200")
    assert screen_fingerprint("sim?genes=200&seed=3") != screen_fingerprint("sim?genes=200&seed=4")


@pytest.mark.parametrize("prior", [0.0, 0.6, 1.0])
def test_prior_knowledge_is_true_to_the_share_it_claims(prior: float) -> None:
    network = scale_free(400, 5)
    known = simulated(seed=5, genes=400, prior=prior).knowledge
    edges = {(a, b) for a, b, _ in network.edges}
    assert len(known.edges) == len(edges)
    assert fmean(e in edges for e in known.edges) == pytest.approx(prior, abs=0.06)
    members = [
        (gene in {regulator, *network.targets[regulator]})
        for regulator in network.regulators
        for gene in known.sets[f"{regulator} and its targets"]
    ]
    assert fmean(members) == pytest.approx(prior, abs=0.06)
    for regulator in network.regulators:
        assert len(known.sets[f"{regulator} and its targets"]) == 1 + len(network.targets[regulator])


def test_noise_follows_the_unit_and_the_gene_and_has_the_asked_size() -> None:
    truth = simulated(genes=600, noise=0.5)
    one, two = truth.measured(1) - truth.effect, truth.measured(2) - truth.effect
    moved = truth.effect[(truth.effect != 0) & (np.array(truth.genes) != truth.reporter)]
    assert one.std() == pytest.approx(0.5 * moved.std(), rel=0.15)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.15
    assert (truth.measured(1) == truth.effect + one).all()
    assert (simulated(noise=0).measured(1) == simulated().effect).all()


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(12, id="few"),
        pytest.param(50, id="all", marks=pytest.mark.slow),  # 27 CPU s of networks; the few check the same,
    ],
)
def test_without_prior_knowledge_round_one_finds_what_chance_finds(seeds: int) -> None:
    inside, batch = 0, 32
    for seed in range(seeds):
        truth = simulated(seed=seed, prior=0.0)
        finished = truth.screen("blind", seed)
        knowledge = build_knowledge(finished.library, truth.knowledge.sources(truth.genes))
        picker = make_picker("prior+ens", finished.library, knowledge)
        loop = ClosedLoop(finished, picker, 1, batch, Unit(index=0, seed=seed))
        found = sum(finished.answer(loop.ask()).hits.tolist())
        law = stats.hypergeom(len(truth.genes), int(truth.hits.sum()), batch)
        inside += law.ppf(0.005) <= found <= law.ppf(0.995)
    assert inside >= int(0.95 * seeds)


def test_a_unit_changes_the_noise_only_unless_every_unit_has_a_network() -> None:
    units = [Unit(index=i, seed=40 + i) for i in range(2)]
    fixed = [target("sim?genes=200").screen(u) for u in units]
    assert (fixed[0].true_hits() == fixed[1].true_hits()).all()
    assert (
        fixed[0].answer(fixed[0].library.symbols).scores.tolist()
        != fixed[1].answer(fixed[1].library.symbols).scores.tolist()
    )
    drawn = [target("sim?genes=200&seed=unit").screen(u) for u in units]
    assert (drawn[0].true_hits() != drawn[1].true_hits()).any()
    assert (
        drawn[0].library.task != drawn[1].library.task or drawn[0].library.symbols == drawn[1].library.symbols
    )


def test_one_library_is_refused_where_every_unit_has_a_network_of_its_own() -> None:
    with pytest.raises(ParamError, match="give a number, such as seed=7"):
        target("sim?genes=200&seed=unit").library()


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("sim?genes=10", "genes='10' must be a number from 200 to 20000"),
        ("sim?noise=9", "noise='9' must be a number from 0 to 5"),
        ("sim?prior=x", "prior='x' must be a number from 0 to 1"),
        ("sim?seed=many", "or unit for a network of its own"),
        ("sim?gene=300", "no option 'gene'. Did you mean 'genes'"),
        ("sim?genes", "write options as name=value"),
        ("no_such_file.csv", "no file 'no_such_file.csv'"),
    ],
)
def test_bad_options_are_one_clear_line(rest: str, said: str) -> None:
    with pytest.raises(TargetError, match=said.replace("?", r"\?")) as error:
        screen_fingerprint(rest)
    assert "\n" not in str(error.value)


def test_a_description_says_what_is_asked_and_no_answer() -> None:
    text = target("sim?genes=200&seed=3").describe()
    assert "200 genes" in text
    assert "knock-out changes the expression of" in text
    assert len(text.encode()) <= 2000
