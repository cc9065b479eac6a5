"""Coarse to fine: scans keep the planted best, dose searches bracket the planted threshold."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from agentkit.agent.offline.candidates import Effect, claims_of, effects_of
from agentkit.agent.offline.events import Event, Finish
from agentkit.agent.offline.planner import _with_metric
from agentkit.agent.offline.policy import next_action
from agentkit.agent.offline.request import Request, understand
from agentkit.agent.offline.schemas import read_cards
from agentkit.agent.offline.strategy import Look, better_half, next_look, telling_metric, union
from agentkit.agent.offline.wanted import wanted_claims
from tests.agent.offline.worlds import World

HEADS = [f"L{i}.H{j}" for i in range(8) for j in range(8)]
SCAN = "Which attention head of minilm: carries most of the margin when ablated?"
DOSE = "how much do typos lower recall_at_1? strengths 0.1 to 0.9 for minilm:"


def request_of(text: str, tools: Any) -> Request:
    found = understand([text], read_cards(tools)[0])
    assert isinstance(found, Request)
    return found


def explored(request: Request, world: World, most: int = 30) -> list[Look]:
    """All looks the strategy takes in a world."""
    looks: list[Look] = []
    while len(looks) < most and (look := next_look(request, looks)) is not None:
        answer = world("explore", {"params": look.params, "units": look.units})
        looks.append(Look(look.params, look.units, answer))
    return looks


def heads_world(best: str, effect: float, seed: int) -> World:
    def effects(params: dict[str, Any]) -> dict[str, float]:
        sites = params.get("sites", "L*.H*")
        names = HEADS if sites == "L*.H*" else sites.split(", ")
        return {n: (effect if n == best else 0.0) for n in names}

    return World(effects, sd=1.0, seed=seed, metric="margin", low=-1, high=1)


def test_a_scan_of_64_heads_ends_with_the_planted_best_in_95_of_100_worlds(installed: Any) -> None:
    request = request_of(SCAN, installed)
    assert (request.intent, request.claim.metric) == ("scan", "margin")
    found = 0
    for seed in range(100):
        best = HEADS[(seed * 37) % 64]
        looks = explored(request, heads_world(best, -2.0, seed))
        found += best in looks[-1].params["sites"].split(", ")
    assert found >= 95


def test_a_scan_halves_the_sites_each_round_and_spends_few_units_a_site(installed: Any) -> None:
    world = heads_world("L0.H0", -2.0, 0)
    looks = explored(request_of(SCAN, installed), world)
    kept = [len(look.params["sites"].split(", ")) for look in looks[1:]]
    assert kept == [32, 16, 8, 4, 3]
    assert all(a.units < b.units for a, b in pairwise(looks))
    assert world.explored_units <= 20 * 64  # earlier units are measured again in the smaller call


def test_units_that_the_user_names_are_kept(installed: Any) -> None:
    looks = explored(request_of(SCAN + " use 12 units", installed), heads_world("L0.H0", -2.0, 0))
    assert [look.units for look in looks] == [12]


def test_halves_are_equal_whatever_the_order_and_ties_go_by_name() -> None:
    effects = [Effect(n, 0.0, 1.0) for n in ("d", "b", "f", "a", "e", "c")]
    assert [e.condition for e in better_half(effects, -1)] == ["a", "b", "c"]
    assert better_half(effects, 1) == better_half(list(reversed(effects)), 1)


def typo_world(threshold: float, seed: int, sd: float = 0.02) -> World:
    def effects(params: dict[str, Any]) -> dict[str, float]:
        return {f"typos={s:g}": (-0.3 if s >= threshold else 0.0) for s in params["strengths"]}

    return World(effects, sd=sd, seed=seed, metric="recall_at_1")


@pytest.mark.parametrize("threshold", [0.15, 0.33, 0.52, 0.78, 0.9])
def test_a_dose_search_brackets_the_planted_threshold_within_a_quarter_of_a_level(
    installed: Any, threshold: float
) -> None:
    request = request_of(DOSE, installed)
    looks = explored(request, typo_world(threshold, seed=int(threshold * 100)))
    assert len(looks) == 3
    effects, _ = union(looks, "recall_at_1")
    strong = sorted(float(e.condition.split("=")[1]) for e in effects if abs(e.mean) >= 0.15)
    weak = [float(e.condition.split("=")[1]) for e in effects if abs(e.mean) < 0.15]
    below = max([w for w in weak if w < strong[0]], default=0.0)
    assert below < threshold <= strong[0]
    assert strong[0] - below <= 0.2 / 4 + 1e-9


def test_refinement_doubles_the_units(installed: Any) -> None:
    looks = explored(request_of(DOSE, installed), typo_world(0.5, seed=1))
    assert [look.units for look in looks] == [8, 16, 32]


def test_a_dose_without_any_effect_is_not_refined_and_claims_no_harm(installed: Any) -> None:
    request = request_of(DOSE, installed)
    looks = explored(request, typo_world(5.0, seed=3, sd=0.001))
    assert len(looks) == 1
    assert all(c["direction"] == "equivalent" for c in wanted_claims(request, looks))


def test_the_dose_candidate_is_the_weakest_level_that_clearly_matters(installed: Any) -> None:
    request = request_of(DOSE, installed)
    looks = explored(request, typo_world(0.52, seed=5))
    claim = next(c for c in wanted_claims(request, looks) if c["direction"] == "less")
    strength = float(claim["condition"].split("=")[1])
    assert 0.5 <= strength <= 0.6
    assert strength in claim["params"]["strengths"]


def test_a_claim_keeps_the_users_own_margin(installed: Any) -> None:
    request = request_of("does typos at 0.4 lower recall_at_1 by more than 0.1?", installed)
    looks = explored(request, typo_world(0.2, seed=1))
    assert [look.units for look in looks] == [16]
    (claim,) = wanted_claims(request, looks)
    terms = {k: claim[k] for k in ("condition", "metric", "direction", "null", "sesoi")}
    assert terms == {
        "condition": "typos=0.4", "metric": "recall_at_1", "direction": "less", "null": -0.1, "sesoi": 0.1,
    }  # fmt: skip


def test_two_conditions_of_one_call_are_compared_with_each_other(installed: Any) -> None:
    request = request_of("Do typos hurt recall_at_1 more than swaps at 20 % in noise.text?", installed)
    world = World(
        lambda p: {f"{k}={s:g}": -0.1 for k in p["kinds"] for s in p["strengths"]},
        sd=0.1,
        metric="recall_at_1",
    )
    (claim,) = wanted_claims(request, explored(request, world))
    assert claim["contrast"] == {"typos=0.2": 1.0, "swap=0.2": -1.0}
    assert claim["direction"] == "less"


def test_a_control_of_the_same_strength_is_not_mistaken_for_the_attack(installed: Any) -> None:
    request = request_of("does a pgd attack at eps 0.1 lower accuracy by more than 0.1?", installed)
    world = World(
        lambda p: {"chance": -0.8, "pgd=0.1": -0.4, "random_sign=0.1": -0.01}, sd=0.1, metric="accuracy"
    )
    (claim,) = wanted_claims(request, explored(request, world))
    assert claim["condition"] == "pgd=0.1"


def test_what_a_tool_declares_as_a_control_is_never_claimed_of_its_own_accord(installed: Any) -> None:
    table = {
        "conditions": ["shuffled", "dim=0.2"],
        "mean": [-0.8, -0.4],
        "se": [0.01, 0.01],
        "low": 0,
        "high": 1,
    }
    ordinary = claims_of(effects_of(table), -1, 0.1)
    declared = claims_of(effects_of({**table, "controls": ["shuffled"]}), -1, 0.1)
    assert "shuffled" in {c["condition"] for c in ordinary}
    assert {c["condition"] for c in declared} == {"dim=0.2"}


def test_a_refused_first_look_ends_the_exploration(installed: Any) -> None:
    request = request_of(DOSE, installed)
    assert next_look(request, [Look(request.params, 8, None)]) is None


def test_two_values_of_one_option_are_looked_at_one_after_the_other_and_each_gets_a_claim(
    installed: Any,
) -> None:
    request = request_of("compare pgd and fgsm attack at eps 0.1", installed)
    world = World(lambda p: {"chance": -0.8, f"{p['kind']}=0.1": -0.3}, sd=0.05, metric="accuracy")
    looks = explored(request, world)
    assert [look.params["kind"] for look in looks] == ["pgd", "fgsm"]
    claims = wanted_claims(request, looks)
    assert [(c["condition"], c["params"]["kind"]) for c in claims] == [
        ("pgd=0.1", "pgd"),
        ("fgsm=0.1", "fgsm"),
    ]


def answer_of(**metrics: dict[str, Any]) -> dict[str, Any]:
    usual = {
        "baseline": 0.9,
        "baseline_sd": 0.1,
        "low": 0,
        "high": 1,
        "higher_is_better": True,
        "not_shown": 0,
    }
    return {"run": "R1", "units": 4, "metrics": {name: {**usual, **table} for name, table in metrics.items()}}


def test_a_scan_without_a_named_metric_goes_by_the_outcome_that_tells_the_heads_apart(installed: Any) -> None:
    request = request_of("Which heads of MiniLM does address matching depend on?", installed)
    names = ["L0.H0", "L0.H1", "L0.H2", "L0.H3"]
    dull = {"conditions": names, "mean": [0.0, 0.1, -0.1, 0.0], "se": [0.1, 0.1, 0.1, 0.1]}
    sharp = {"conditions": names, "mean": [-0.2, 0.0, 0.01, 0.0], "se": [0.01, 0.01, 0.01, 0.01]}
    look = Look({}, 4, answer_of(recall_at_1=dull, margin={**sharp, "low": -1}, cosine=sharp))
    assert telling_metric(request, [look]) == "margin"  # cosine to the untouched model moves whatever is done
    assert telling_metric(request, [Look({}, 4, answer_of(recall_at_1=sharp, margin=sharp))]) == "recall_at_1"
    named = request_of("Which heads of MiniLM does recall_at_1 depend on?", installed)
    assert telling_metric(named, [look]) == "recall_at_1"


def test_the_metric_gone_by_is_said_with_the_reason(installed: Any) -> None:
    request = request_of("Which heads of SmolLM2 does next-word prediction depend on?", installed)
    names = ["L0.H0", "L0.H1"]
    dull = {"conditions": names, "mean": [0.0, 0.1], "se": [0.1, 0.1]}
    sharp = {"conditions": names, "mean": [-0.2, 0.0], "se": [0.01, 0.01]}
    _, note = _with_metric(request, [Look({}, 4, answer_of(accuracy=sharp))])
    assert note == ["judged by accuracy, since recall_at_1 is not measured with these params"]
    _, note = _with_metric(request, [Look({}, 4, answer_of(recall_at_1=dull, accuracy=sharp))])
    assert "far more clearly than in recall_at_1" in note[0]


def test_where_the_first_metric_is_not_measured_one_without_a_range_may_tell_most(installed: Any) -> None:
    request = request_of("Which heads of SmolLM2 does next-word prediction depend on?", installed)
    names = ["L0.H0", "L0.H1"]
    dull = {"conditions": names, "mean": [-0.02, 0.0], "se": [0.01, 0.01]}
    sharp = {"conditions": names, "mean": [0.5, 0.0], "se": [0.01, 0.01]}
    assert telling_metric(request, [Look({}, 4, answer_of(accuracy=dull, nll=sharp, js=sharp))]) == "nll"


def test_a_metric_that_a_step_asks_for_and_its_tool_leaves_out_is_said() -> None:
    step = {"tool": "attention.guide", "params": {}, "metric": "fd"}
    answer = {**answer_of(judge={"conditions": ["a"], "mean": [0.1], "se": [0.1]}), "not_measured": ["fd"]}
    explored = Event("explore", {"tool": "attention.guide"}, answer)
    end = next_action([step], [explored, Event("report", {}, {})])
    assert isinstance(end, Finish)
    assert "not measured: fd by attention.guide" in end.text


def test_pairs_are_claimed_each_in_its_own_direction_where_neither_is_better(installed: Any) -> None:
    request = request_of("which double knock-outs in grn:ffl10 are epistatic on gene G?", installed)
    assert request.params == {"target": "grn:ffl10", "readout": "G", "order": 2}
    names = ["KO:A", "KO:A+KO:B", "KO:A+KO:C", "KO:B+KO:C"]
    table = {"conditions": names, "mean": [0.0, 0.3, -0.2, 0.0], "se": [0.0, 0.01, 0.01, 0.01]}
    unbounded = {"low": None, "high": None, "higher_is_better": None, "baseline": 0.0, "baseline_sd": 0.0}
    looks = [Look(request.params, 4, answer_of(epistasis={**table, **unbounded}))]
    again = next_look(request, looks)
    assert again is not None and again.params["genes"] == ["A", "B", "C"]
    claims = wanted_claims(request, [*looks, Look(again.params, again.units, None)])
    assert [(c["condition"], c["direction"]) for c in claims] == [
        ("KO:A+KO:B", "greater"),
        ("KO:A+KO:C", "less"),
    ]


def test_what_does_good_is_claimed_where_nothing_does_harm(installed: Any) -> None:
    request = request_of("Which heads of MiniLM does address matching depend on?", installed)
    table = {"conditions": ["L0.H0", "L0.H1"], "mean": [0.3, 0.2], "se": [0.01, 0.01]}
    claims = wanted_claims(request, [Look({}, 4, answer_of(recall_at_1=table))])
    assert [(c["condition"], c["direction"]) for c in claims] == [("L0.H0", "greater"), ("L0.H1", "greater")]
