"""One study through the ledger: seeds, runs, attempts, what may be seen when, verdicts, decisions."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agentkit.errors import LedgerError, RuleViolation, SpecError
from agentkit.ledger import Ledger, UnitOutcome, listing
from agentkit.measurements import Measurements
from agentkit.seeds import unit_seed
from agentkit.stats.verdicts import judge_campaign
from tests.ledger.conftest import build, confirm, outcomes_of, work

if TYPE_CHECKING:
    from pathlib import Path

    from agentkit.ledger import Campaign
    from agentkit.plugins import Plugins


# ---- campaigns


def test_a_campaign_opens_again_with_the_same_values_only(ledger: Ledger) -> None:
    first = ledger.campaign("tokens", alpha=0.1, max_hypotheses=20, root_seed=3)
    assert ledger.campaign("tokens", alpha=0.1, max_hypotheses=20) is first
    for values in ({"alpha": 0.05}, {"max_hypotheses": 21}, {"root_seed": 4}):
        with pytest.raises(SpecError, match="never changes"):
            ledger.campaign("tokens", **({"alpha": 0.1, "max_hypotheses": 20} | values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "field"),
    [({"alpha": 0}, "alpha"), ({"alpha": 1}, "alpha"), ({"max_hypotheses": 0}, "max_hypotheses"), ({"root_seed": -1}, "root_seed"),
     ({"root_seed": 1 << 128}, "root_seed"), ({"name": " "}, "name")],
)  # fmt: skip
def test_a_campaign_refuses_values_that_no_error_budget_has(ledger: Ledger, values: dict, field: str) -> None:
    with pytest.raises(SpecError, match=field):
        ledger.campaign(values.pop("name", "x"), **values)


def test_a_drawn_root_is_of_128_bits_and_shown_nowhere(ledger: Ledger) -> None:
    a, b = ledger.campaign("a"), ledger.campaign("b")
    assert a.seed_origin == b.seed_origin == "drawn"
    assert len(a.root_seed) == 32 and a.root_seed != b.root_seed
    shown = repr(a) + repr(ledger.campaigns())
    assert a.root_seed not in shown


def test_campaigns_are_counted_with_their_hypotheses(ledger: Ledger, plugins: Plugins) -> None:
    campaign = ledger.campaign("a")
    ledger.campaign("b")
    campaign.close(campaign.register(build(plugins)), "budget")
    campaign.register(build(plugins, null=-0.1))
    assert [(row.key, row.hypotheses, row.closed) for row in ledger.campaigns()] == [("a", 2, 1), ("b", 0, 0)]


# ---- seeds and runs


def test_confirm_seeds_follow_from_root_and_frozen_spec(campaign: Campaign, plugins: Plugins) -> None:
    hypothesis = campaign.register(build(plugins))
    units = campaign.start_confirm(hypothesis, 3).units
    root = f"{7:032x}"
    assert [u.seed for u in units] == [
        unit_seed(root, "confirm", hypothesis.spec.sha256, i) for i in range(3)
    ]


def test_no_confirm_seed_is_an_explore_seed_or_another_hypothesis_seed(
    campaign: Campaign, plugins: Plugins
) -> None:
    explored = campaign.start_explore(plugins, "toy.dose", {"strength": 0.5}, 50, targets={})
    runs = [campaign.start_confirm(campaign.register(build(plugins, null=n / 100)), 50) for n in range(3)]
    seeds = [u.seed for run in [explored, *runs] for u in run.units]
    assert len(set(seeds)) == 200


def test_two_campaigns_with_one_declared_root_never_share_a_confirm_seed(
    ledger: Ledger, plugins: Plugins
) -> None:
    a, b = ledger.campaign("a", root_seed=1), ledger.campaign("b", root_seed=1)
    first = a.start_confirm(a.register(build(plugins)), 10).units
    second = b.start_confirm(b.register(build(plugins)), 10).units
    assert not {u.seed for u in first} & {u.seed for u in second}
    ledger.verify()  # seeds that were passed over were really taken


def test_units_continue_and_stop_at_max_units(campaign: Campaign, plugins: Plugins) -> None:
    hypothesis = campaign.register(build(plugins, max_units=25), allow_underpowered=True)
    indices = []
    for _ in range(3):
        run = campaign.start_confirm(hypothesis, 10)
        indices.append([u.index for u in run.units])
        work(run)
    assert indices == [list(range(10)), list(range(10, 20)), list(range(20, 25))]
    with pytest.raises(RuleViolation, match="AK005"):
        campaign.start_confirm(hypothesis, 1)


def test_a_confirm_run_measures_only_what_its_contrast_reads(campaign: Campaign, plugins: Plugins) -> None:
    run = campaign.start_confirm(campaign.register(build(plugins)), 2)
    assert (run.phase, run.tool, run.conditions) == ("confirm", "toy.dose", ["baseline", "dose=0.2"])
    assert run.params == {"strength": 0.5, "target": "toy:model"}
    assert run.targets == {"toy:model": "toy-model-1"}


def test_an_interrupted_batch_comes_back_before_a_new_one(campaign: Campaign, plugins: Plugins) -> None:
    hypothesis = campaign.register(build(plugins))
    run = campaign.start_confirm(hypothesis, 10)
    run.record(run.begin_attempt("w"), outcomes_of(run, run.units[:4]))
    again = campaign.start_confirm(hypothesis, 99)
    assert again.id == run.id
    assert [u.index for u in again.missing()] == [4, 5, 6, 7, 8, 9]


def test_runs_and_hypotheses_are_found_by_reference(
    ledger: Ledger, campaign: Campaign, plugins: Plugins
) -> None:
    hypothesis = campaign.register(build(plugins), claim_text="dose lowers the score")
    run = campaign.start_confirm(hypothesis, 3)
    assert ledger.hypothesis("H1") is ledger.hypothesis(1) is hypothesis
    found = ledger.run(run.ref)
    assert (found.id, found.units, found.hypothesis_id) == (run.id, run.units, 1)
    with pytest.raises(LedgerError, match=r"no hypothesis H9 in .*; the last one is H1"):
        ledger.hypothesis("H9")
    with pytest.raises(LedgerError, match="R1 is a run, and no run has a verdict: register a hypothesis"):
        ledger.hypothesis("R1")
    with pytest.raises(LedgerError, match="run 'x': write a number, or R3"):
        ledger.run("x")


# ---- memory


def test_the_same_question_finds_its_run_again(campaign: Campaign, plugins: Plugins) -> None:
    run = campaign.start_explore(plugins, "toy.dose", {"strength": 0.5}, 5, targets={"toy:model": "1"})
    assert campaign.start_explore(plugins, "toy.dose", {}, 5, targets={"toy:model": "1"}).id == run.id


def test_more_units_of_a_known_question_cost_only_the_new_ones(campaign: Campaign, plugins: Plugins) -> None:
    small = campaign.start_explore(plugins, "toy.dose", {}, 5, targets={})
    work(small)
    large = campaign.start_explore(plugins, "toy.dose", {}, 8, targets={})
    assert campaign.known(large) == [0, 1, 2, 3, 4]
    assert [u.index for u in large.missing()] == [5, 6, 7]
    assert large.measurements() == small.measurements()
    assert [a.worker for a in large.attempts()] == ["memory"]
    work(large)
    assert campaign.known(large) == list(range(8))


def test_fewer_conditions_of_a_known_question_cost_nothing(campaign: Campaign, plugins: Plugins) -> None:
    full = campaign.start_explore(plugins, "toy.dose", {}, 4, targets={})
    work(full)
    part = campaign.start_explore(plugins, "toy.dose", {}, 4, targets={}, conditions=["dose=0.2"])
    assert campaign.known(part) == [0, 1, 2, 3]
    assert part.measurements().conditions == ("baseline", "dose=0.2")
    whole = campaign.start_explore(plugins, "toy.dose", {}, 3, targets={})
    assert campaign.known(whole) == [0, 1, 2]


@pytest.mark.parametrize(
    "other",
    [{"params": {"strength": 0.4}}, {"targets": {"toy:model": "other"}}, {"environment": {"torch": "3"}}],
)
def test_another_question_knows_nothing(campaign: Campaign, plugins: Plugins, other: dict) -> None:
    base: dict = {"params": {}, "targets": {"toy:model": "1"}, "environment": {"torch": "2"}}
    work(
        campaign.start_explore(
            plugins, "toy.dose", base["params"], 3, targets=base["targets"], environment=base["environment"]
        )
    )
    asked = base | other
    run = campaign.start_explore(
        plugins, "toy.dose", asked["params"], 3, targets=asked["targets"], environment=asked["environment"]
    )
    assert campaign.known(run) == []


def test_a_failure_is_never_an_answer(campaign: Campaign, plugins: Plugins) -> None:
    run = campaign.start_explore(plugins, "toy.dose", {}, 3, targets={})
    fence = run.begin_attempt("w")
    run.record(fence, [UnitOutcome(1, "timeout", message="60 s")])
    run.record(fence, outcomes_of(run))
    again = campaign.start_explore(plugins, "toy.dose", {}, 3, targets={})
    assert again.id != run.id
    assert campaign.known(again) == [0, 2]


def test_a_confirm_run_is_never_answered_from_memory(campaign: Campaign, plugins: Plugins) -> None:
    run = campaign.start_confirm(campaign.register(build(plugins)), 3)
    assert campaign.known(run) == []
    assert len(run.missing()) == 3


# ---- outcomes


def test_an_outcome_is_kept_once_whoever_repeats_it(campaign: Campaign, plugins: Plugins) -> None:
    run = campaign.start_confirm(campaign.register(build(plugins)), 3)
    fence = run.begin_attempt("w")
    outcomes = outcomes_of(run)
    run.record(fence, outcomes)
    head = campaign.head()
    run.record(fence, outcomes)
    run.record(fence, [UnitOutcome(0, "failed")])
    assert campaign.head() == head
    assert run.outcomes() == {0: "ok", 1: "ok", 2: "ok"}


def test_a_late_worker_is_refused_and_remembered(campaign: Campaign, plugins: Plugins) -> None:
    run = campaign.start_confirm(campaign.register(build(plugins)), 2)
    late, newest = run.begin_attempt("slow"), run.begin_attempt("quick")
    with pytest.raises(RuleViolation, match="AK007: fence 1 is older than 2"):
        run.record(late, outcomes_of(run))
    assert run.outcomes() == {}
    assert [(a.worker, a.status) for a in run.attempts()] == [("slow", "late"), ("quick", None)]
    run.record(newest, outcomes_of(run))
    assert len(run.outcomes()) == 2


def test_a_batch_is_kept_whole_or_not_at_all(campaign: Campaign, plugins: Plugins) -> None:
    run = campaign.start_confirm(campaign.register(build(plugins)), 3)
    fence = run.begin_attempt("w")
    with pytest.raises(LedgerError, match="unit 7 is not one of run R1"):
        run.record(fence, [*outcomes_of(run), UnitOutcome(7, "failed")])
    assert run.outcomes() == {}


def test_measurements_come_back_bit_for_bit_in_the_tools_order(campaign: Campaign, plugins: Plugins) -> None:
    run = campaign.start_explore(plugins, "toy.dose", {}, 4, targets={})
    outcomes = outcomes_of(run)
    run.record(run.begin_attempt("w"), outcomes)
    back = run.measurements()
    assert back == Measurements.concat(o.measurements for o in outcomes)
    assert back.conditions == ("baseline", "dose=0.1", "dose=0.2")
    assert back.metrics == ("score", "cosine", "loss")


def test_a_negative_zero_survives_verification(ledger: Ledger, campaign: Campaign, plugins: Plugins) -> None:
    run = campaign.start_explore(plugins, "toy.dose", {}, 1, targets={})
    table = Measurements.from_array(run.units, ["baseline"], "loss", [[-0.0]])
    run.record(run.begin_attempt("w"), [UnitOutcome(0, "ok", table)])
    ledger.verify()


def test_an_outcome_without_the_claims_value_is_a_failed_unit(campaign: Campaign, plugins: Plugins) -> None:
    hypothesis = campaign.register(build(plugins))
    run = campaign.start_confirm(hypothesis, 1)
    table = Measurements.from_array(run.units, ["baseline", "dose=0.1"], "score", [[0.5, 0.4]])
    run.record(run.begin_attempt("w"), [UnitOutcome(0, "ok", table)])
    assert run.outcomes() == {0: "bad_value"}
    assert campaign.status(hypothesis).failed == 1


@pytest.mark.parametrize("values", [[[0.5, 1.5]], [[-0.2, 0.5]]])
def test_a_value_outside_its_declared_range_makes_the_claim_invalid(
    campaign: Campaign, plugins: Plugins, values: list
) -> None:
    hypothesis = campaign.register(build(plugins))
    run = campaign.start_confirm(hypothesis, 2)
    table = Measurements.from_array(run.units[:1], ["baseline", "dose=0.2"], "score", values)
    fence = run.begin_attempt("w")
    run.record(fence, [UnitOutcome(0, "ok", table)])
    run.record(fence, outcomes_of(run))
    campaign.close(hypothesis, "stopped")
    [verdict] = campaign.verdicts()
    assert (verdict.label, verdict.reason, verdict.log_e) == ("invalid", "range", None)


def test_a_baseline_that_is_not_the_declared_constant_is_out_of_range(
    campaign: Campaign, plugins: Plugins
) -> None:
    hypothesis = campaign.register(build(plugins, metric="cosine", null=-0.05))
    run = campaign.start_confirm(hypothesis, 1)
    table = Measurements.from_array(run.units, ["baseline", "dose=0.2"], "cosine", [[0.9, 0.5]])
    run.record(run.begin_attempt("w"), [UnitOutcome(0, "ok", table)])
    assert run.outcomes() == {0: "out_of_range"}
    assert campaign.status(hypothesis).label == "invalid"


def test_an_outcome_says_what_it_holds() -> None:
    with pytest.raises(LedgerError, match="status 'fine' is unknown"):
        UnitOutcome(0, "fine")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(LedgerError, match="is ok but holds no measurements"):
        UnitOutcome(0, "ok")


# ---- what may be seen, and when


def test_a_batch_becomes_visible_only_as_a_whole(campaign: Campaign, plugins: Plugins) -> None:
    hypothesis = campaign.register(build(plugins))
    work(campaign.start_confirm(hypothesis, 5))
    run = campaign.start_confirm(hypothesis, 5)
    fence = run.begin_attempt("w")
    run.record(fence, outcomes_of(run, run.units[2:]))
    assert campaign.status(hypothesis).units == 5
    run.record(fence, outcomes_of(run))
    assert campaign.status(hypothesis).units == 10


def test_a_claim_cannot_close_on_units_still_in_flight(campaign: Campaign, plugins: Plugins) -> None:
    hypothesis = campaign.register(build(plugins))
    run = campaign.start_confirm(hypothesis, 5)
    run.record(run.begin_attempt("w"), outcomes_of(run, run.units[:1]))
    with pytest.raises(RuleViolation, match="AK002: 4 units of hypothesis H1 have no outcome"):
        campaign.close(hypothesis, "looks good")
    work(run)
    campaign.close(hypothesis, "stopped")
    with pytest.raises(RuleViolation, match=r"AK002: hypothesis H1 is closed after 5 units \(stopped\)"):
        campaign.close(hypothesis, "again")
    with pytest.raises(RuleViolation, match="AK005: hypothesis H1 is closed"):
        campaign.start_confirm(hypothesis, 1)


def test_status_without_units_knows_nothing(campaign: Campaign, plugins: Plugins) -> None:
    status = campaign.status(campaign.register(build(plugins)))
    assert (status.units, status.units_left, status.estimate, status.label) == (0, 200, None, "inconclusive")
    assert (status.lo, status.hi) == (-1.0, 1.0)


# ---- verdicts


def study(campaign: Campaign, plugins: Plugins, *, batch: int = 20) -> None:
    """Three claims: a true one, an equivalence, a false one."""
    confirm(campaign, campaign.register(build(plugins)), 100, batch=batch)
    confirm(
        campaign,
        campaign.register(build(plugins, direction="equivalent", condition="dose=0.1", sesoi=0.25)),
        100,
        batch=batch,
    )
    confirm(campaign, campaign.register(build(plugins, direction="greater")), 100, batch=batch)


def test_verdicts_are_what_the_statistics_say(campaign: Campaign, plugins: Plugins) -> None:
    study(campaign, plugins)
    verdicts = campaign.verdicts()
    assert [v.label for v in verdicts] == ["supported", "equivalent", "contradicted"]
    hypotheses = campaign.hypotheses()
    pairs = [h.differences() for h in hypotheses]
    wanted = judge_campaign(
        [h.spec.claim for h in hypotheses], [d for d, _ in pairs], [f for _, f in pairs],
        [h.weight for h in hypotheses], [True] * 3, [None] * 3, campaign.alpha,
    )  # fmt: skip
    for verdict, expected in zip(verdicts, wanted, strict=True):
        assert {name: getattr(verdict, name) for name in vars(expected)} == vars(expected)


def test_status_says_what_the_verdict_will_be(campaign: Campaign, plugins: Plugins) -> None:
    hypothesis = campaign.register(build(plugins))
    for _ in range(4):
        work(campaign.start_confirm(hypothesis, 25))
    status = campaign.status(hypothesis)
    campaign.close(hypothesis, "stopped")
    [verdict] = campaign.verdicts()
    for name in ("label", "level", "k_star", "units", "failed", "estimate", "lo", "hi", "log_e"):
        assert getattr(status, name) == getattr(verdict, name)


def test_a_verdict_is_written_again_only_when_something_changed(campaign: Campaign, plugins: Plugins) -> None:
    confirm(campaign, campaign.register(build(plugins)), 100)
    first = campaign.verdicts()
    head = campaign.head()
    assert campaign.verdicts() == first
    assert campaign.head() == head
    confirm(campaign, campaign.register(build(plugins, null=-0.01)), 100)
    second = campaign.verdicts()
    assert [v.k_star for v in second] == [2, 2]
    assert second[0].level == 2 * first[0].level
    assert second[0].as_of_seq > first[0].as_of_seq


def test_an_open_claim_has_no_verdict(campaign: Campaign, plugins: Plugins) -> None:
    hypothesis = campaign.register(build(plugins))
    work(campaign.start_confirm(hypothesis, 100))
    assert campaign.status(hypothesis).decided
    assert campaign.verdicts() == []


def numbers(campaign: Campaign) -> list:
    return [replace(v, id=0, as_of_seq=0) for v in campaign.verdicts()]


def test_the_same_root_gives_the_same_verdicts_bit_for_bit(tmp_path: Path, plugins: Plugins) -> None:
    found = []
    for name, batch in (("a", 20), ("b", 20), ("c", 7), ("d", 100)):
        with Ledger(tmp_path / f"{name}.db") as ledger:
            campaign = ledger.campaign("tokens", root_seed=11)
            for spec in (build(plugins), build(plugins, direction="greater")):
                hypothesis = campaign.register(spec)
                while campaign.status(hypothesis).units_left > 150:
                    work(
                        campaign.start_confirm(
                            hypothesis, min(batch, campaign.status(hypothesis).units_left - 150)
                        ),
                        batch=3,
                    )
                campaign.close(hypothesis, "stopped")
            found.append(numbers(campaign))
    assert found[0] == found[1] == found[2] == found[3]


def test_a_restart_at_any_point_changes_no_verdict(tmp_path: Path, plugins: Plugins) -> None:
    with Ledger(tmp_path / "whole.db") as ledger:
        campaign = ledger.campaign("tokens", root_seed=5)
        confirm(campaign, campaign.register(build(plugins)), 60)
        undisturbed = numbers(campaign)
    path = tmp_path / "restarted.db"
    for _ in range(4):
        with Ledger(path) as ledger:
            campaign = ledger.campaign("tokens", root_seed=5)
            hypothesis = campaign.find(build(plugins)) or campaign.register(build(plugins))
            if campaign.status(hypothesis).units < 60:
                run = campaign.start_confirm(hypothesis, 20)
                run.record(run.begin_attempt("w"), outcomes_of(run, run.missing()[:11]))
    with Ledger(path) as ledger:
        campaign = ledger.campaign("tokens", root_seed=5)
        hypothesis = campaign.hypotheses()[0]
        while campaign.status(hypothesis).units < 60:
            work(campaign.start_confirm(hypothesis, 20))
        campaign.close(hypothesis, "stopped")
        assert numbers(campaign) == undisturbed
        ledger.verify()


def test_failed_units_count_against_both_sides(campaign: Campaign, plugins: Plugins) -> None:
    clean = campaign.register(build(plugins))
    work(campaign.start_confirm(clean, 40))
    damaged = campaign.register(build(plugins, failed={"invalid_if": 0.05}))
    run = campaign.start_confirm(damaged, 40)
    fence = run.begin_attempt("w")
    run.record(fence, [UnitOutcome(i, "oom", message="12 GiB") for i in range(3)])
    run.record(fence, outcomes_of(run))
    assert campaign.status(damaged).failed == 3
    campaign.close(damaged, "stopped")
    [verdict] = campaign.verdicts()
    assert (verdict.label, verdict.reason, verdict.failed) == ("invalid", "failures", 3)
    values, failed = damaged.differences()
    assert failed.tolist() == [True] * 3 + [False] * 37
    assert np.all(values[:3] == 0)


# ---- the budget, decisions


def test_registering_beyond_the_budget_says_how_much_is_spent(ledger: Ledger, plugins: Plugins) -> None:
    campaign = ledger.campaign("small", max_hypotheses=2)
    for null in (0.0, -0.1):
        campaign.register(build(plugins, null=null))
    with pytest.raises(RuleViolation, match=r"AK004: alpha budget spent \(2 of 2\); open a new campaign"):
        campaign.register(build(plugins, null=-0.2))


@pytest.mark.parametrize("count", [1, 3, 7, 49, 100])
def test_exactly_max_hypotheses_fit_the_budget(ledger: Ledger, plugins: Plugins, count: int) -> None:
    campaign = ledger.campaign("full", max_hypotheses=count)
    for i in range(count):
        campaign.register(build(plugins, null=-0.001 * i))
    assert len(campaign.hypotheses()) == count


def test_the_same_spec_twice_names_the_one_that_is_there(campaign: Campaign, plugins: Plugins) -> None:
    campaign.register(build(plugins))
    with pytest.raises(SpecError, match="registered already: H1 is frozen after 0 units"):
        campaign.register(build(plugins))


def test_a_decision_notes_how_far_its_maker_could_see(
    ledger: Ledger, campaign: Campaign, plugins: Plugins
) -> None:
    before = campaign.decide(
        "planner", "explore", {"tool": "toy.dose"}, model="offline", tokens_in=5, usd=0.25
    )
    work(campaign.start_explore(plugins, "toy.dose", {}, 2, targets={}))
    after = campaign.decide("human", "stop", {"note": "späť"})
    rows = ledger.query("SELECT id, actor, content_json, seen_seq, usd FROM decision ORDER BY id")
    assert [(r["id"], r["actor"]) for r in rows] == [(before, "planner"), (after, "human")]
    assert rows[0]["seen_seq"] == 0 and rows[1]["seen_seq"] == 6
    assert json.loads(rows[1]["content_json"]) == {"note": "späť"}
    with pytest.raises(LedgerError, match="actor='robot'"):
        campaign.decide("robot", "x", {})


def test_an_open_campaign_gives_claim_i_the_weight_6_over_pi_squared_i_squared(
    ledger: Ledger, plugins: Plugins
) -> None:
    campaign = ledger.campaign("open", max_hypotheses="open", root_seed=3)
    specs = [build(plugins, max_units=200 + i) for i in range(4)]
    planned = [campaign.plan(spec).mde for spec in specs[:1]]
    claims = [campaign.register(spec, allow_underpowered=True) for spec in specs]
    assert [h.weight for h in claims] == [6 / (math.pi * i) ** 2 for i in (1, 2, 3, 4)]
    assert campaign.plan(specs[0]).mde == planned[0], "a registered spec keeps the weight it got"
    assert campaign.plan(specs[3]).mde > planned[0], "later claims are harder to decide"
    confirm(campaign, claims[0], 60)
    confirm(campaign, claims[3], 60)
    rows = campaign.verdicts()
    assert [row.label for row in rows] == ["supported", "supported"]
    assert rows[0].level == pytest.approx(min(0.05, 2 * 0.05 * claims[0].weight))
    assert rows[1].level == pytest.approx(2 * 0.05 * claims[3].weight)
    assert ledger.verify().hypotheses == 4


def test_an_open_campaign_stays_open_and_a_counted_one_counted(ledger: Ledger) -> None:
    assert ledger.campaign("open", max_hypotheses="open").max_hypotheses == "open"
    assert ledger.campaign("open", max_hypotheses="open") is ledger.reopen("open")
    assert [row.max_hypotheses for row in ledger.campaigns()] == ["open"]
    assert listing.rows(ledger, "campaigns")[0]["max_hypotheses"] == "open"
    with pytest.raises(SpecError, match=r"max_hypotheses=10000.*was opened with 'open'"):
        ledger.campaign("open", max_hypotheses=10_000)
    ledger.campaign("counted", max_hypotheses=10_000)
    with pytest.raises(SpecError, match=r"max_hypotheses='open'.*was opened with 10000"):
        ledger.campaign("counted", max_hypotheses="open")
    with pytest.raises(SpecError, match="or 'open', is allowed"):
        ledger.campaign("other", max_hypotheses="many")  # type: ignore[arg-type]
    with pytest.raises(LedgerError, match="counted"):
        ledger.reopen("countd")
