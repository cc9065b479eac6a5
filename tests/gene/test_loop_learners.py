"""Every score against a plain second way of computing it, on a 30-gene toy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from agentkit import Unit
from agentkit.errors import ParamError
from agentkit_gene.loop import learners
from agentkit_gene.loop.closed_loop import ClosedLoop, advance, start_loops
from agentkit_gene.loop.diversity import farthest
from agentkit_gene.loop.ensemble import EnsemblePicker
from agentkit_gene.loop.features import build_knowledge, normalised
from agentkit_gene.loop.pairs import PairFeatures
from agentkit_gene.loop.pickers import Ranking, make_picker
from agentkit_gene.loop.prior import Prior
from agentkit_gene.loop.ranks import normal_score
from agentkit_gene.loop.screen import Answers, Library, Screen
from agentkit_gene.loop.svd import left_factors
from agentkit_gene.loop.transfer import other_studies, transfer_prior
from agentkit_gene.loop.uncertainty import gp_posterior
from agentkit_gene.loop.words import STOP_WORDS, symbols_in, tokens
from tests.gene.loop_kit import UNIT, gene, toy_knowledge, toy_screen, toy_sources

N = 30


@pytest.fixture(scope="module")
def small():
    """Knowledge, tested rows and labels of a 30-gene toy."""
    library = Library("small", tuple(gene(i) for i in range(N)), task="the cytokine that GENE012 makes")
    knowledge = build_knowledge(library, toy_sources(N))
    tested = np.array([2, 3, 7, 11, 12, 18, 25, 29])
    return knowledge, tested, np.array([1, 1, 0, 0, 1, 0, 0, 1.0])


def test_the_gaussian_process_agrees_with_a_direct_solve(small) -> None:
    k, tested, y = small
    x = k.x.astype(np.float64)
    d = ((x[:, None] - x[None]) ** 2).sum(-1)
    gamma = 1 / np.median(d[np.ix_(tested, tested)])
    kernel = np.exp(-gamma * d)
    inner = kernel[np.ix_(tested, tested)] + 0.3 * np.eye(len(tested))
    expected = y.mean() + kernel[:, tested] @ np.linalg.inv(inner) @ (y - y.mean())
    np.testing.assert_allclose(learners.gp_mean(k.x, tested, y), expected, atol=1e-10)
    mean, sd = gp_posterior(k.x, tested, y)
    np.testing.assert_allclose(mean, expected, atol=1e-10)
    variance = 1 - np.einsum("ij,jk,ik->i", kernel[:, tested], np.linalg.inv(inner), kernel[:, tested])
    np.testing.assert_allclose(sd, np.sqrt(np.maximum(variance, 1e-6)) * max(y.std(), 0.1), atol=1e-8)


def test_hits_and_the_strongest_tenth_are_learnt_from(small) -> None:
    screen = toy_screen()
    loop = ClosedLoop(screen, make_picker("random", screen.library), 2, 40, UNIT)
    assert len(learners.near_hits(loop.view())) == 0
    loop.tell(screen.answer(loop.ask()))
    view = loop.view()
    away = np.abs(view.scores - np.median(view.scores))
    far = away > 2 * 1.4826 * np.median(away)
    expected = view.labels | (away >= np.sort(away)[-4]) & far
    np.testing.assert_array_equal(learners.near_hits(view), expected)
    unhit = replace(view, labels=np.zeros(40, dtype=bool))
    assert 0 < learners.near_hits(unhit).sum() <= 4


@pytest.mark.parametrize("direction", ["abs", "high", "low"])
def test_a_gene_that_does_not_stand_out_is_no_near_hit(direction) -> None:
    screen = toy_screen()
    library = replace(screen.library, direction=direction)
    loop = ClosedLoop(replace(screen, library=library), make_picker("random", library), 2, 40, UNIT)
    loop.tell(screen.answer(loop.ask()))
    none = np.zeros(40, dtype=bool)
    even = replace(loop.view(), labels=none, scores=5 + np.linspace(-1, 1, 40))
    assert not learners.near_hits(even).any()
    peak = even.scores.copy()
    peak[[0, 39]] = -5, 15
    found = learners.near_hits(replace(even, scores=peak))
    assert set(np.flatnonzero(found)) == {"abs": {0, 39}, "high": {39}, "low": {0}}[direction]


def test_one_strong_component_outweighs_two_middling_ones() -> None:
    n = 1000
    strong, middling = np.full(n, 0.5), np.full(n, 0.5)
    strong[0], middling[0], strong[1], middling[1] = 0.999, 0.5, 0.75, 0.75
    ranking = Ranking.pooled([("a", 1.0, strong), ("b", 1.0, middling)])
    assert ranking.scores[0] > ranking.scores[1] > ranking.scores[2]
    assert ranking.components["a"][0] == 0.999
    assert np.isfinite(normal_score(np.array([0.0, 0.5, 1.0]))).all()


def test_without_a_single_hit_the_default_still_learns_from_near_hits() -> None:
    screen = toy_screen()
    loop = ClosedLoop(screen, EnsemblePicker(toy_knowledge()), 2, 20, UNIT)
    answers = screen.answer(loop.ask())
    loop.tell(Answers(answers.genes, answers.scores, np.zeros(20, dtype=bool)))
    loop.ask()
    assert {"trees", "gp", "sets", "prior"} == loop.asked[1].picks[0].components.keys()


def test_spread_agrees_with_loops_over_the_edges(small) -> None:
    k, tested, y = small
    a = k.adjacency.toarray()
    degree = np.maximum(a.sum(axis=1), 1)
    v = np.zeros(N)
    v[tested] = y
    f = v.copy()
    for _ in range(learners.SPREAD_STEPS):
        g = np.zeros(N)
        for i in range(N):
            for j in range(N):
                g[i] += a[i, j] / math.sqrt(degree[i] * degree[j]) * f[j]
        f = learners.RESTART * v + (1 - learners.RESTART) * g
    np.testing.assert_allclose(learners.spread_over(k.propagator, v), f, atol=1e-10)


def test_set_scores_agree_with_loops_over_sets(small) -> None:
    k, tested, y = small
    member = k.membership.toarray().astype(bool)
    base = max(y.mean(), 0.01)
    weights = []
    for s in range(member.shape[1]):
        inside = [i for i, row in enumerate(tested) if member[row, s]]
        mean = sum(y[i] - base for i in inside) / (len(inside) + 4)
        weights.append(math.copysign(mean**2, mean))
    np.testing.assert_allclose(learners.set_weights(k, tested, y), weights, atol=1e-10)
    expected = [
        sum(weights[s] for s in range(member.shape[1]) if member[g, s]) / math.sqrt(member[g].sum() + 5)
        for g in range(N)
    ]
    np.testing.assert_allclose(learners.set_scores(k, np.array(weights)), expected, atol=1e-10)


def test_the_text_prior_agrees_with_loops_over_words(small) -> None:
    k, _, _ = small
    prior = Prior(k, "the cytokine that GENE012 makes")
    assert prior.named.tolist() == [12]
    assert {"cytokine", "make", "lysosome", "factor"} <= prior.query
    names = [tokens(n) for n in k.set_names]
    raw = []
    for words in names:
        shared = {w for w in words if w in prior.query}
        raw.append(
            sum(math.log(len(names) / (1 + sum(w in other for other in names))) for w in shared)
            / math.sqrt(1 + len(words))
        )
    sim = np.maximum(raw, 0) / max(raw)
    np.testing.assert_allclose(prior.similarity, sim, atol=1e-10)
    member = k.membership.toarray()
    sizes = member.sum(axis=0)
    text = np.array(
        [sum(member[g, s] * sim[s] ** 3 / math.sqrt(sizes[s] + 5) for s in range(len(sim))) for g in range(N)]
    )
    text[12] = text.max()
    np.testing.assert_allclose(prior.text, text, atol=1e-10)


def test_a_task_without_words_leaves_only_the_general_prior(small) -> None:
    k, _, _ = small
    for task in ("", "identify genes that regulate the score"):
        prior = Prior(k, task)
        assert not prior.similarity.any()
        assert np.isfinite(prior.value).all()


def test_words_drop_identifiers_stop_words_and_hyphens() -> None:
    assert tokens("Regulation Of IL-2 Production (GO:0032663) WP49") == {"il", "il2", "production"}
    assert symbols_in("Interleukin-2 (IL-2) in a T cell, IFNG") == ["IL2", "IFNG"]
    assert {"the", "regulate", "crispr"} <= STOP_WORDS


def test_singular_vectors_agree_with_numpy_and_have_fixed_signs() -> None:
    dense = np.random.default_rng(3).standard_normal((40, 25)) * np.linspace(3, 0.1, 25)
    found = left_factors(sparse.csr_matrix(dense), 6)
    u, s, _ = np.linalg.svd(dense, full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs(u[:, :6] * s[:6]), atol=0.02)
    assert (found[np.abs(found).argmax(axis=0), np.arange(6)] > 0).all()


def test_the_propagator_is_symmetric_and_bounded(small) -> None:
    k, _, _ = small
    p = normalised(k.adjacency).toarray()
    np.testing.assert_allclose(p, p.T)
    assert np.abs(np.linalg.eigvalsh(p)).max() <= 1 + 1e-12


def test_coreset_takes_the_farthest_gene_each_time() -> None:
    k = toy_knowledge()
    loop = ClosedLoop(toy_screen(), make_picker("coreset", toy_screen().library, k), 2, 5, UNIT)
    loop.tell(loop.screen.answer(loop.ask()))
    chosen = farthest(k.x, loop.view())
    x = k.x.astype(np.float64)
    seen = list(loop.tested)
    for row in chosen:
        d = ((x[:, None] - x[seen][None]) ** 2).sum(-1).min(axis=1)
        assert d[row] == pytest.approx(d.max(), abs=1e-4)
        seen.append(row)


def test_the_default_beats_chance_and_its_own_permuted_feedback_on_planted_modules() -> None:
    units = [Unit(index=i, seed=11 + i) for i in range(4)]
    screen = toy_screen()
    conditions = ["prior+ens", "prior+ens!permuted"]
    loops = start_loops(screen, conditions, units, rounds=4, batch=20, knowledge=toy_knowledge())
    for _ in range(4):
        advance([x for each in loops.values() for x in each])
    true, permuted = (np.mean([x.judged(screen).hit_ratio for x in loops[c]]) for c in conditions)
    assert true > 1.5 * 80 / 200
    assert true > permuted + 0.1


def test_large_campaigns_keep_every_hit_and_a_sample_of_the_rest() -> None:
    loop = ClosedLoop(toy_screen(), make_picker("random", toy_screen().library), 2, 150, UNIT)
    loop.tell(loop.screen.answer(loop.ask()))
    view = loop.view()
    chosen = learners.at_most(view, 60)
    assert len(set(chosen.tolist())) == 60
    assert set(np.flatnonzero(view.labels)) <= set(chosen.tolist())
    assert learners.at_most(view, 150).tolist() == list(range(150))


def test_a_sibling_screen_of_the_same_study_never_reaches_the_transfer_fit() -> None:
    library, knowledge = toy_screen().library, toy_knowledge()
    other = toy_screen(seed=5, name="other", study="elsewhere")
    sibling = toy_screen(seed=6, name="sibling", study=" Toys ")
    nameless = toy_screen(seed=7, name="nameless", study=None)
    assert [s.library.name for s in other_studies(library, [sibling, nameless, other])] == ["other"]
    alone = transfer_prior(library, knowledge, [other])
    np.testing.assert_array_equal(alone, transfer_prior(library, knowledge, [sibling, other, nameless]))
    with pytest.raises(ParamError, match="no screen of another study"):
        transfer_prior(library, knowledge, [sibling, nameless])
    with pytest.raises(ParamError, match="names no study"):
        transfer_prior(nameless.library, knowledge, [other])
    picker = make_picker("xprior+ens", library, knowledge, [sibling, other])
    loop = ClosedLoop(toy_screen(), picker, 2, 20, UNIT)
    for _ in range(2):
        loop.tell(loop.screen.answer(loop.ask()))
    assert "transfer" in loop.asked[1].picks[0].components


def pair_screen() -> tuple[Screen, Library]:
    """All pairs of 24 toy genes; hits are pairs with one of three genes."""
    names = [f"{gene(i)}+{gene(j)}" for i in range(24) for j in range(i + 1, 24)]
    library = Library("pairs", tuple(sorted(names)), task="pairs", pairs=True)
    rng = np.random.default_rng(0)
    hits = np.array([any(g in (gene(3), gene(7), gene(20)) for g in s.split("+")) for s in library.symbols])
    hits &= rng.random(len(hits)) < 0.8
    return Screen(library, hits + 0.1 * rng.standard_normal(len(hits)), hits), library


@pytest.mark.parametrize("name", ["random", "prior", "trees", "prior+trees", "prior+ens"])
def test_pairs_have_pickers_of_their_own_and_repeat_to_the_bit(name: str) -> None:
    screen, library = pair_screen()
    knowledge = build_knowledge(library, toy_sources(24))
    runs = []
    for _ in range(2):
        loop = ClosedLoop(screen, make_picker(name, library, knowledge), 4, 16, UNIT)
        for _ in range(4):
            advance([loop])
        runs.append([b.genes for b in loop.asked])
    assert runs[0] == runs[1]
    assert len({g for b in runs[0] for g in b}) == 64
    if name == "prior+ens":
        assert loop.judged(screen).hits > 1.5 * 64 * screen.true_hits().mean()


def test_a_pair_is_one_pair_in_either_order_and_its_gene_rates_agree_with_a_loop() -> None:
    screen, library = pair_screen()
    loop = ClosedLoop(screen, make_picker("random", library), 1, 4, UNIT)
    assert loop.resolver("gene007+GENE002") == loop.resolver("GENE002 + gene007") == "GENE002+GENE007"
    features = PairFeatures(library, build_knowledge(library, toy_sources(24)))
    tested = np.arange(0, 200, 3)
    labels = screen.true_hits()[tested]
    rates = features.hit_rates(tested, labels)
    for g in range(24):
        mine = [i for i, t in enumerate(tested) if g in library.members[t]]
        assert rates[g] == pytest.approx((labels[mine].sum() + 0.3) / (len(mine) + 3), abs=1e-12)
    a, b = library.members[5]
    cosines = features.cosines["go"][5]
    x = features.knowledge.x[
        :, features.knowledge.blocks[0].start : features.knowledge.blocks[0].stop
    ].astype(float)
    assert cosines == pytest.approx(x[a] @ x[b] / (np.linalg.norm(x[a]) * np.linalg.norm(x[b])), abs=1e-6)
