"""The loop itself: what reaches a picker, what counts as a pick, how a finished loop is judged, how it resumes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import ndtri

from agentkit import Unit
from agentkit.errors import ParamError
from agentkit_gene.loop.closed_loop import ClosedLoop, advance, start_loops
from agentkit_gene.loop.errors import BadScreenError, LoopStateError, NoFeaturesError, UnknownPickerError
from agentkit_gene.loop.feedback import Feedback
from agentkit_gene.loop.metrics import judge
from agentkit_gene.loop.pickers import RandomPicker, Ranking, make_picker, picker_names
from agentkit_gene.loop.picks import Resolver
from agentkit_gene.loop.proposals import Proposal
from agentkit_gene.loop.ranks import keyed_normals, keyed_uniforms, rank
from agentkit_gene.loop.screen import Answers, Library, Screen, View
from tests.gene.loop_kit import UNIT, UNITS, gene, toy_knowledge, toy_screen

if TYPE_CHECKING:
    from collections.abc import Sequence

TRANSFERLESS = [n for n in picker_names() if n != "xprior+ens"]


class Stubborn:
    """Names tested, invented, repeated and aliased genes, and too few of them."""

    name, version = "stubborn", "1"

    def propose(self, views: Sequence[View]) -> list[Ranking]:
        names = (" gene003 ", "GENE003", "OLD7", "ALIAS4", "NOSUCH", "GENE00l", gene(0))
        return [Ranking(np.zeros(len(v.library)), names=names) for v in views]


def loop_of(name: str = "prior+ens", *, batch: int = 20, rounds: int = 4, unit: Unit = UNIT) -> ClosedLoop:
    screen = toy_screen()
    return ClosedLoop(screen, make_picker(name, screen.library, toy_knowledge()), rounds, batch, unit)


def played(name: str, **more: object) -> list[list[str]]:
    loop = loop_of(name, **more)
    while not loop.done:
        loop.tell(loop.screen.answer(loop.ask()))
    return [b.genes for b in loop.asked]


def test_ranks_share_the_mean_position_of_ties() -> None:
    np.testing.assert_array_equal(rank(np.array([5.0, 1.0, 1.0, 9.0])), [0.5, 0.125, 0.125, 0.75])


def test_keyed_draws_follow_the_gene_not_its_row_and_are_uniform() -> None:
    symbols = tuple(gene(i) for i in range(999))
    u = keyed_uniforms(symbols, 5, "tie", 1)
    np.testing.assert_array_equal(u[::-1], keyed_uniforms(symbols[::-1], 5, "tie", 1))
    assert abs(u.mean() - 0.5) < 4 / np.sqrt(12 * 999)
    assert not np.array_equal(u, keyed_uniforms(symbols, 5, "tie", 2))
    assert abs(keyed_normals(symbols, 5, "tie", 1).std() - 1) < 0.1


@pytest.mark.parametrize("name", TRANSFERLESS)
def test_scores_of_untested_genes_never_reach_a_pick(name: str) -> None:
    screen = toy_screen()
    honest = loop_of(name, rounds=3)
    for _ in range(2):
        honest.tell(screen.answer(honest.ask()))
    told = honest.tested
    scores, hits = screen.answer(screen.library.symbols).scores.copy(), screen.true_hits().copy()
    hidden = np.setdiff1d(np.arange(200), told)
    scores[hidden] = scores[hidden][::-1] * 7
    hits[hidden] = ~hits[hidden]
    other = ClosedLoop(Screen(screen.library, scores, hits), honest.picker, 3, 20, UNIT)
    for answers in honest.told:
        assert set(other.ask()) == set(answers.genes)
        other.tell(other.screen.answer(other.ask()))
    assert other.ask() == honest.ask()


def test_a_picker_is_given_nothing_that_holds_untested_answers() -> None:
    view = loop_of("random").view()
    assert not hasattr(view, "answer")
    assert not any(isinstance(getattr(view, f), Screen) for f in view.__dataclass_fields__)
    assert len(view.scores) == len(view.labels) == len(view.tested) == 0


def test_the_screen_is_asked_only_for_the_picks() -> None:
    asked: list[str] = []

    class Watched(Screen):
        def answer(self, genes: Sequence[str]) -> Answers:
            asked.extend(genes)
            return super().answer(genes)

    toy = toy_screen()
    screen = Watched(toy.library, toy._scores, toy._hits)
    loop = ClosedLoop(screen, make_picker("prior+ens", toy.library, toy_knowledge()), 3, 16, UNIT)
    for _ in range(3):
        advance([loop])
    assert asked == [g for b in loop.asked for g in b.genes]
    assert len(set(asked)) == 48


def test_bad_names_are_dropped_with_reasons_and_the_batch_is_filled_to_size() -> None:
    screen = toy_screen()
    others = {"OLD7": (gene(7),), "ALIAS4": (gene(8), gene(9))}
    loop = ClosedLoop(screen, Stubborn(), 2, 12, UNIT, other_names=others)
    loop.tell(screen.answer([gene(0)]))
    picks = loop.ask()
    assert picks[:2] == [gene(3), gene(7)]
    assert len(picks) == len(set(picks)) == 12
    assert set(picks) <= set(screen.library.symbols) - {gene(0)}
    reasons = {d.name: d.reason for d in loop.asked[1].dropped}
    assert reasons["GENE003"] == "named twice"
    assert reasons["NOSUCH"] == "not in the library"
    assert reasons["ALIAS4"] == "could be GENE008 or GENE009"
    assert reasons[gene(0)] == "already tested"
    near = next(d for d in loop.asked[1].dropped if d.name == "GENE00l").near
    assert near and all(n.startswith("GENE") for n in near)


def test_candidates_take_a_quarter_of_the_batch_and_the_picker_the_rest() -> None:
    loop = loop_of("prior+ens", batch=16)
    wished = [gene(i) for i in range(180, 190)]
    picks = loop.ask(Proposal(candidates=tuple(wished)))
    assert picks[:4] == wished[:4]
    assert [p.proposed for p in loop.asked[0].picks[:5]] == [True] * 4 + [False]
    assert "beyond the 4 places" in loop.asked[0].dropped[0].reason


def test_seeds_and_sets_move_the_prior_towards_them() -> None:
    loop = loop_of("prior+ens")
    hint = Proposal(seeds=("alias65",), sets=("lipid pathway wp6",))
    plain, seeded = (loop.picker.propose([loop.view(p)])[0].scores for p in (None, hint))
    meant = [*range(50, 70), *range(130, 140)]
    others = [i for i in range(200) if i not in meant]
    moved = seeded - plain
    assert moved[meant].min() > 0.05
    assert moved[meant].mean() > moved[others].mean() + 0.15


def test_an_empty_or_garbled_proposal_gives_the_offline_picks() -> None:
    proposal, notes = Proposal.from_json({"seeds": "TP53", "candidates": [1], "why": 3})
    assert proposal.empty and len(notes) == 2
    assert loop_of().ask(proposal) == loop_of().ask(Proposal.from_json("nonsense")[0]) == loop_of().ask()
    assert loop_of().ask(Proposal(seeds=("NOSUCH",), sets=("no such set",))) == loop_of().ask()


def test_random_finds_the_tested_share_of_the_hits() -> None:
    screen, picker = toy_screen(), RandomPicker()
    units = [Unit(index=i, seed=i) for i in range(2000)]
    loops = [ClosedLoop(screen, picker, 1, 40, u) for u in units]
    advance(loops)
    ratios = np.array([x.judged(screen).hit_ratio for x in loops])
    assert abs(ratios.mean() - 40 / 200) < 4 * ratios.std(ddof=1) / np.sqrt(2000)
    h = int(screen.true_hits().sum())
    variance = 40 * (h / 200) * (1 - h / 200) * (160 / 199) / h**2
    assert ratios.std() == pytest.approx(np.sqrt(variance), rel=0.1)


def test_hit_ratios_agree_with_a_screen_worked_by_hand() -> None:
    hits = np.zeros(20, dtype=bool)
    hits[[0, 3, 7, 11, 19]] = True
    essential = np.zeros(20, dtype=bool)
    essential[[0, 1, 11]] = True
    found = judge([np.array([0, 1, 2]), np.array([3, 4, 19]), np.array([5, 6, 8])], hits, essential)
    np.testing.assert_allclose(found.curve, [1 / 5, 3 / 5, 3 / 5], atol=1e-12)
    np.testing.assert_allclose(found.curve_nonessential, [0, 2 / 3, 2 / 3], atol=1e-12)
    assert found.auc == pytest.approx((0.2 + 0.6 + 0.6) / 3, abs=1e-12)
    assert found.hits == 3
    best = judge([np.flatnonzero(hits)[:3], np.flatnonzero(hits)[3:]], hits, essential)
    worst = judge([np.flatnonzero(~hits)[:3]], hits, None)
    assert best.hit_ratio == best.hit_ratio_nonessential == 1.0
    assert worst.hit_ratio == worst.auc == 0.0
    assert worst.hit_ratio_nonessential is None


@pytest.mark.parametrize("name", TRANSFERLESS)
def test_a_unit_gets_the_same_picks_alone_in_company_and_after_a_resume(name: str) -> None:
    screen = toy_screen()
    loops = start_loops(screen, [name, "random"], UNITS, rounds=4, batch=20, knowledge=toy_knowledge())
    for _ in range(4):
        advance([x for group in loops.values() for x in group])
    together = [[b.genes for b in x.asked] for x in loops[name]]
    assert together[1] == played(name, unit=UNITS[1])
    half = loop_of(name, unit=UNITS[1])
    for _ in range(2):
        half.tell(half.screen.answer(half.ask()))
    half.ask()
    state = json.loads(json.dumps(half.state()))
    resumed = ClosedLoop.resume(state, screen, make_picker(name, screen.library, toy_knowledge()))
    while not resumed.done:
        resumed.tell(screen.answer(resumed.ask()))
    assert [b.genes for b in resumed.asked] == together[1]
    assert resumed.asked[2].picks == loops[name][1].asked[2].picks


def test_asking_twice_gives_the_same_batch_and_units_differ() -> None:
    loop = loop_of("gp_thompson")
    assert loop.ask() == loop.ask()
    assert loop.ask() != loop_of("gp_thompson", unit=UNITS[1]).ask()


@pytest.mark.parametrize("name", ["prior", "prior+ens", "prior+trees", "gp_thompson", "top_uncertain"])
def test_the_stored_components_rebuild_every_score(name: str) -> None:
    loop = loop_of(name, rounds=3)
    for _ in range(3):
        loop.tell(loop.screen.answer(loop.ask()))
    rebuilt = [p for b in loop.asked for p in b.picks if p.components]
    assert rebuilt
    for pick in rebuilt:
        pooled = "trees" in pick.components and name == "prior+ens"
        parts = {c: ndtri(v + 0.5 / len(loop.library)) if pooled else v for c, v in pick.components.items()}
        total = sum(pick.weights[c] * v for c, v in parts.items())
        assert total == pytest.approx(pick.score, abs=1e-12)
    for batch in loop.asked:
        scores = [p.score for p in batch.picks]
        assert all(a >= b - 1e-7 for a, b in pairwise(scores))


def test_picks_name_sets_and_tested_hits_that_spoke_for_them() -> None:
    loop = loop_of("prior+ens", rounds=3)
    for _ in range(3):
        loop.tell(loop.screen.answer(loop.ask()))
    hits = {g for a in loop.told[:2] for g, h in zip(a.genes, a.hits, strict=True) if h}
    last = loop.asked[2].picks
    assert all({g for g, _ in p.neighbours} <= hits and len(p.neighbours) <= 3 for p in last)
    assert any(p.sets for p in last)


def test_permuted_feedback_keeps_the_rows_and_is_judged_by_the_true_flags() -> None:
    screen = toy_screen()
    permuted = screen.permuted(UNIT)

    def rows(s: Screen) -> list[tuple[float, bool]]:
        a = s.answer(s.library.symbols)
        return sorted(zip(a.scores.tolist(), a.hits.tolist(), strict=True))

    assert rows(permuted) == rows(screen)
    assert not np.array_equal(permuted.true_hits(), screen.true_hits())
    loops = start_loops(
        screen, ["prior+ens", "prior+ens!permuted"], UNITS, rounds=4, batch=20, knowledge=toy_knowledge()
    )
    for _ in range(4):
        advance([x for group in loops.values() for x in group])
    true, shuffled = (np.mean([x.judged(screen).hits for x in g]) for g in loops.values())
    assert true > shuffled + 5
    first = loops["prior+ens!permuted"][0]
    told = screen.library.rows(first.told[0].genes)
    assert first.judged(screen).curve[0] == screen.true_hits()[told].sum() / screen.true_hits().sum()


def test_the_last_batch_is_short_and_says_so() -> None:
    batches = loop_of("random", batch=90, rounds=3)
    while not batches.done:
        batches.tell(batches.screen.answer(batches.ask()))
    assert [len(b.picks) for b in batches.asked] == [90, 90, 20]
    assert "20 of 90" in batches.asked[-1].note
    with pytest.raises(LoopStateError, match="all 200 genes"):
        ClosedLoop.resume(batches.state() | {"rounds": 9}, batches.screen, batches.picker).ask()


def test_a_lab_tells_results_by_any_name_and_a_wrong_table_changes_nothing() -> None:
    library = toy_screen().library
    loop = ClosedLoop(
        library, RandomPicker(), 3, 10, UNIT, feedback=Feedback("score"), other_names={"OLD5": [gene(5)]}
    )
    loop.tell(Answers(("OLD5", " gene009"), np.array([1.0, 2.0])))
    assert [library.symbols[i] for i in loop.tested] == [gene(5), gene(9)]
    for genes, said in (
        ((gene(1), "GENE9999"), "near names"),
        ((gene(5),), "already"),
        ((gene(1), "gene001"), "already"),
    ):
        with pytest.raises(LoopStateError, match=said):
            loop.tell(Answers(genes, np.zeros(len(genes))))
    assert len(loop.tested) == 2
    assert len(set(loop.ask()) - {gene(5), gene(9)}) == 10


def test_score_feedback_takes_the_top_share_of_what_was_tested() -> None:
    scores = np.array([0.0, 0.1, -0.2, 5.0, -6.0, 0.3, 0.2, 0.0, 0.1, -0.1])
    labels = Feedback("score", share=0.2).labels(scores, None, "abs")
    assert labels.nonzero()[0].tolist() == [3, 4]
    assert Feedback("score", share=0.1).labels(scores, None, "low").nonzero()[0].tolist() == [4]
    assert Feedback("score", threshold=0.25).labels(scores, None, "high").nonzero()[0].tolist() == [3, 5]
    controls = tuple(np.linspace(-0.1, 0.1, 9))
    assert Feedback("score").labels(scores, None, "abs", controls).nonzero()[0].tolist() == [3, 4, 5]
    assert not Feedback("score").labels(np.ones(7), None, "abs").any()
    with pytest.raises(ParamError, match="feedback=score"):
        Feedback("hit").labels(scores, None, "abs")


@pytest.mark.parametrize(("rounds", "batch"), [(0, 5), (5, 0), (1, 201)])
def test_impossible_sizes_are_refused(rounds: int, batch: int) -> None:
    with pytest.raises(ParamError, match=str(batch)):
        loop_of("random", rounds=rounds, batch=batch)


def test_unknown_pickers_and_missing_knowledge_name_the_next_step() -> None:
    library = toy_screen().library
    with pytest.raises(UnknownPickerError, match=r"prior\+ens"):
        make_picker("prior+enz", library, toy_knowledge())
    with pytest.raises(NoFeaturesError, match="features="):
        make_picker("prior+ens", library)
    with pytest.raises(ParamError, match="study"):
        make_picker("xprior+ens", library, toy_knowledge(), [])


def test_a_screen_without_hits_needs_score_feedback() -> None:
    toy = toy_screen()
    silent = Screen(toy.library, toy._scores, np.zeros(200, dtype=bool))
    with pytest.raises(ParamError, match="feedback=score"):
        ClosedLoop(silent, RandomPicker(), 2, 10, UNIT)
    with pytest.raises(BadScreenError, match="no hit is marked"):
        silent.true_hits()
    loop = ClosedLoop(silent, RandomPicker(), 2, 10, UNIT, feedback=Feedback("score"))
    loop.tell(silent.answer(loop.ask()))
    assert len(loop.ask()) == 10


def test_damaged_or_foreign_states_are_refused() -> None:
    loop = loop_of("random")
    loop.tell(loop.screen.answer(loop.ask()))
    state = loop.state()
    other = toy_screen(genes=150)
    with pytest.raises(LoopStateError, match="another library"):
        ClosedLoop.resume(state, other, loop.picker)
    with pytest.raises(LoopStateError, match="picker"):
        ClosedLoop.resume(state, loop.screen, Stubborn())
    with pytest.raises(LoopStateError, match="damaged"):
        ClosedLoop.resume({**state, "told": [["x"]]}, loop.screen, loop.picker)


def test_the_resolver_prefers_the_library_and_refuses_ambiguous_names() -> None:
    resolve = Resolver(
        Library("l", ("ABC", "C1orf9", "DEF")), {"OLD": ["ABC"], "TWO": ["ABC", "DEF"], "ABC": ["DEF"]}
    )
    assert [resolve(n) for n in (" abc ", "C1ORF9", "old", "TWO", "x")] == [
        "ABC",
        "C1orf9",
        "ABC",
        None,
        None,
    ]
