"""Labels: earned where the interval lies, kept for ever, and false only as often as the level allows."""

import math
from dataclasses import replace

import numpy as np
import pytest

from agentkit.errors import StatsError
from agentkit.stats.claims import Claim
from agentkit.stats.intervals import log_threshold
from agentkit.stats.verdicts import campaign_log_e, evidence, evidence_of, judge, judge_campaign, log_e_path
from tests.stats.laws import bursts, coins, median_zero_skewed, rare_loss, skewed_beta

GREATER = Claim("bounded_mean", "greater", 0.0, 0.2, -1.0, 1.0)
LESS = replace(GREATER, direction="less")
TWO_SIDED = replace(GREATER, direction="two_sided")
EQUIVALENT = replace(GREATER, direction="equivalent")
SHARP = Claim("sharp", "greater", 0.0, 0.2, -np.inf, np.inf)


def units(mean, n=200, spread=0.1, seed=31):
    """n differences in [-1, 1] around a mean."""
    return np.clip(np.random.default_rng(seed).normal(mean, spread, n), -1, 1)


def none_failed(differences):
    return np.zeros(len(differences), bool)


def label(claim, differences, level=0.01, failed=None):
    return judge(claim, differences, none_failed(differences) if failed is None else failed, level).label


@pytest.mark.parametrize(
    ("mean", "claim", "expected"),
    [
        (0.5, GREATER, "supported"),
        (-0.5, GREATER, "contradicted"),
        (0.0, GREATER, "equivalent"),
        (0.5, LESS, "contradicted"),
        (-0.5, LESS, "supported"),
        (0.5, TWO_SIDED, "supported"),
        (-0.5, TWO_SIDED, "supported"),
        (0.0, EQUIVALENT, "equivalent"),
        (0.5, EQUIVALENT, "contradicted"),
        (-0.5, EQUIVALENT, "contradicted"),
        (0.5, SHARP, "supported"),
        (-0.5, SHARP, "contradicted"),
        (0.5, replace(SHARP, direction="two_sided"), "supported"),
        (0.5, replace(GREATER, interval="one_sided"), "supported"),
        (-0.5, replace(GREATER, interval="one_sided"), "inconclusive"),
        (0.0, replace(GREATER, interval="one_sided"), "inconclusive"),
        (0.02, GREATER, "equivalent"),
    ],
)
def test_the_label_says_where_the_effect_is(mean, claim, expected):
    assert label(claim, units(mean, n=400)) == expected


def test_the_example_of_a_known_baseline_is_cheap():
    claim = Claim("bounded_mean", "less", -0.05, 0.05, -2.0, 0.0)
    loose = replace(claim, lo=-2.0, hi=2.0)
    differences = -np.abs(units(0.15, n=120, spread=0.05))
    assert label(claim, differences, 0.05 / 100) == "supported"
    assert label(loose, differences, 0.05 / 100) == "inconclusive"


@pytest.mark.parametrize("base", [GREATER, LESS, TWO_SIDED, EQUIVALENT])
def test_a_label_is_earned_exactly_when_its_condition_on_the_interval_holds(base):
    rng = np.random.default_rng(32)
    seen = set()
    for _ in range(150):
        row = units(
            rng.uniform(-0.5, 0.5), n=int(rng.integers(0, 200)), spread=0.3, seed=int(rng.integers(1e9))
        )
        claim = base if base is EQUIVALENT else replace(base, null=float(rng.uniform(-0.1, 0.1)))
        verdict = judge(claim, row, none_failed(row), 0.02)
        low, high, delta, null = verdict.lo, verdict.hi, claim.sesoi, claim.null
        if min(abs(e - v) for e in (low, high) for v in (-delta, delta, null)) < 1e-8:
            continue
        if low > -delta and high < delta:
            expected = "equivalent"
        elif claim.direction == "equivalent":
            expected = "contradicted" if low > delta or high < -delta else "inconclusive"
        elif claim.direction == "two_sided":
            expected = "supported" if not low < null < high else "inconclusive"
        else:
            above, below = (
                ("supported", "contradicted")
                if claim.direction == "greater"
                else ("contradicted", "supported")
            )
            expected = above if low > null else below if high < null else "inconclusive"
        assert verdict.label == expected
        assert verdict.sign == (1 if low > null else -1 if high < null else 0)
        seen.add(verdict.label)
    assert len(seen) >= 3


def test_supported_may_sharpen_to_equivalent_and_keeps_its_sign():
    row = units(0.15, n=400, spread=0.05)
    first, later = (
        judge(GREATER, row[:60], none_failed(row[:60]), 0.05),
        judge(GREATER, row, none_failed(row), 0.05),
    )
    assert (first.label, first.sign) == ("supported", 1)
    assert (later.label, later.sign) == ("equivalent", 1)


def test_a_band_end_beyond_the_range_is_settled_by_the_range():
    claim = Claim("bounded_mean", "equivalent", 0.0, 0.2, -1.0, 0.1)
    assert label(claim, np.minimum(units(0.0, spread=0.05), 0.1)) == "equivalent"
    found = evidence(claim, [-0.5] * 30, [False] * 30)
    assert found.log_e_by_label["contradicted"] > 5  # by the lower end only; the upper one is out of reach
    always_high = evidence(claim, [0.1] * 30, [False] * 30)
    assert always_high.log_e_by_label["contradicted"] < 0


def test_a_band_that_ends_on_the_range_still_needs_evidence():
    """With sesoi = hi and every D on hi, |mu| < sesoi is false, and no amount of units may say otherwise."""
    claim = Claim("bounded_mean", "equivalent", 0.0, 0.5, -1.0, 0.5)
    assert label(claim, [0.5] * 500, 0.05) == "inconclusive"
    assert label(claim, [0.5, 0.2] * 250, 0.05) == "equivalent"


def test_equivalence_is_not_offered_where_it_would_have_no_width():
    assert "equivalent" not in evidence(replace(GREATER, sesoi=0.0), [0.1], [False]).log_e_by_label


def test_the_largest_log_e_decides_and_is_rounded():
    found = evidence(GREATER, units(0.3, 50), none_failed(range(50)))
    assert found.log_e == max(found.log_e_by_label.values()) == found.log_e_by_label["supported"]
    assert found.log_e == round(found.log_e, 9)


def test_evidence_exactly_on_the_threshold_is_enough():
    row = units(0.3, 50)
    found = evidence(GREATER, row, none_failed(row))
    on_it, above_it = float(np.exp(-found.log_e)), float(np.exp(-found.log_e - 2e-9))
    assert log_threshold(on_it) == found.log_e
    assert judge(GREATER, row, none_failed(row), on_it).label == "supported"
    assert judge(GREATER, row, none_failed(row), above_it).label == "inconclusive"


def test_equivalence_to_a_known_best_baseline_needs_only_its_lower_side():
    """A cosine to itself is 1, so D lies in [-2, 0]: nothing above 0 is left to rule out."""
    claim = Claim("bounded_mean", "equivalent", 0.0, 0.05, -2.0, 0.0)
    verdict = judge(claim, -np.abs(units(0.0, n=400, spread=0.01)), none_failed(range(400)), 0.01)
    assert (verdict.label, verdict.sign, verdict.hi <= 0) == ("equivalent", -1, True)
    assert judge(claim, -np.abs(units(0.2, n=400)), none_failed(range(400)), 0.01).label == "contradicted"


@pytest.mark.parametrize("claim", [GREATER, EQUIVALENT, SHARP, replace(LESS, interval="one_sided")])
def test_the_path_of_log_e_ends_where_the_evidence_is_at_every_unit(claim):
    row = units(0.1, 60, 0.3)
    failed = np.arange(60) % 13 == 5
    path = log_e_path(claim, row, failed)
    alone = [evidence(claim, row[:n], failed[:n]).log_e for n in range(1, 61)]
    np.testing.assert_allclose(path, alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("test", ["bounded_mean", "sign"])
def test_the_order_of_units_does_not_matter_to_tests_of_a_mean(test):
    claim = replace(GREATER, test=test)
    row = units(0.1, 60, 0.3)
    first, shuffled = (
        evidence(claim, r, none_failed(r)) for r in (row, np.random.default_rng(40).permutation(row))
    )
    assert shuffled.log_e == pytest.approx(first.log_e, abs=2e-9)


def test_an_empty_campaign_has_no_verdicts():
    assert judge_campaign([], [], [], [], [], [], 0.05) == []


def test_no_units_or_failed_units_only_decide_nothing():
    for claim in (GREATER, LESS, TWO_SIDED, EQUIVALENT, SHARP):
        for n in (0, 40):
            verdict = judge(claim, [np.nan] * n, [True] * n, 0.9)
            assert (verdict.label, verdict.reason, verdict.estimate) == ("inconclusive", "no_units", None)
            assert (verdict.units, verdict.failed) == (n, n)


def test_the_estimate_is_the_mean_of_ok_units_in_the_unit_of_the_claim():
    differences, failed = [0.5, -0.2, 9.0, 0.3], [False, False, True, False]
    assert evidence(GREATER, differences, failed).estimate == pytest.approx(0.2)
    sign = Claim("sign", "greater", 0.0, 0.2, -1.0, 1.0)
    assert evidence(sign, differences, failed).estimate == pytest.approx(1 / 3)


def test_failed_units_widen_the_interval_on_both_sides():
    row = units(0.3, 100)
    plain = judge(GREATER, row, none_failed(row), 0.05)
    more = judge(GREATER, np.r_[row, [np.nan] * 10], np.r_[none_failed(row), [True] * 10], 0.05)
    assert more.lo < plain.lo
    assert more.hi > plain.hi
    assert more.failed == 10


def test_too_many_failed_units_are_invalid_when_the_claim_says_so():
    claim = replace(GREATER, invalid_if=0.05)
    row = np.r_[units(0.5, 95), [np.nan] * 5]
    failed = np.r_[np.zeros(95, bool), np.ones(5, bool)]
    assert label(claim, row, failed=failed) == "supported"  # exactly the share is allowed
    one_more, failed_more = np.r_[row, np.nan], np.r_[failed, True]
    verdict = judge(claim, one_more, failed_more, 0.05)
    assert (verdict.label, verdict.reason, verdict.log_e, verdict.lo) == ("invalid", "failures", None, None)
    assert label(GREATER, one_more, failed=failed_more) == "supported"


def test_a_value_out_of_range_is_invalid_and_never_clipped():
    verdict = judge(GREATER, [0.2, 1.5], [False, False], 0.05)
    assert (verdict.label, verdict.reason) == ("invalid", "range")
    assert judge(GREATER, [0.2, 1.5], [False, True], 0.05).label == "inconclusive"


def test_when_both_tails_of_sharp_grow_they_cancel_and_the_reason_is_mixed():
    """Many small losses and a rare large gain: steep bets see the losses, flat bets the gains."""
    row = np.r_[20.0, -20.0, np.tile(np.r_[np.full(400, -0.01), 20.0], 30)]
    needed = np.log(1 / 0.05)
    for claim in (SHARP, replace(SHARP, direction="less"), replace(SHARP, direction="two_sided")):
        assert evidence(claim, row, none_failed(row)).conflict > needed
        verdict = judge(claim, row, none_failed(row), 0.05)
        assert (verdict.label, verdict.reason, verdict.sign) == ("inconclusive", "mixed", 0)
        assert verdict.log_e < needed  # so that it does not count in k*
        assert verdict.lo < 0 < verdict.hi


def test_sharp_without_a_range_reports_unknown_ends_as_none():
    verdict = judge(SHARP, [0.1, 0.2, 0.3], [False] * 3, 0.05)
    assert (verdict.lo, verdict.hi) == (None, None)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, float("nan")])
def test_a_level_outside_zero_to_one_is_refused(level):
    with pytest.raises(StatsError, match="level="):
        judge(GREATER, [0.1], [False], level)


def campaign(seed, size=30):
    """A mixed campaign: claims, differences, failed."""
    rng = np.random.default_rng(seed)
    pool = [GREATER, LESS, TWO_SIDED, EQUIVALENT, SHARP, replace(GREATER, interval="one_sided")]
    claims = [pool[i] for i in rng.integers(0, len(pool), size)]
    rows = [
        units(rng.choice([-0.3, 0, 0, 0.1, 0.3]), int(rng.integers(0, 120)), 0.3, int(rng.integers(1e9)))
        for _ in claims
    ]
    return claims, rows, [rng.random(len(row)) < 0.02 for row in rows]


def test_a_campaign_gives_each_hypothesis_the_verdict_it_gets_alone_at_its_level():
    claims, rows, failed = campaign(33, 60)
    verdicts = judge_campaign(claims, rows, failed, [1 / 60] * 60, [True] * 60, [None] * 60, 0.05)
    assert {v.label for v in verdicts} >= {"supported", "contradicted", "equivalent", "inconclusive"}
    for claim, row, bad, verdict in zip(claims, rows, failed, verdicts, strict=True):
        assert judge(claim, row, bad, verdict.level, verdict.k_star) == verdict


def test_the_order_of_hypotheses_does_not_show():
    claims, rows, failed = campaign(34)
    weights = np.random.default_rng(35).dirichlet(np.ones(30)).tolist()
    order = np.random.default_rng(36).permutation(30).tolist()
    args = (claims, rows, failed, weights, [True] * 30, [None] * 30)
    verdicts = judge_campaign(*args, 0.05)
    shuffled = judge_campaign(*([column[i] for i in order] for column in args), 0.05)
    assert shuffled == [verdicts[i] for i in order]


def test_k_star_counts_decided_hypotheses_and_appending_never_undecides():
    claims, rows, failed = campaign(37, 40)
    decided = set()
    k_before = 0
    for size in range(1, 41, 3):
        verdicts = judge_campaign(
            claims[:size], rows[:size], failed[:size], [1 / 40] * size, [True] * size, [None] * size, 0.05
        )
        now = {i for i, v in enumerate(verdicts) if v.reason == "decided"}
        assert decided <= now
        assert len(now) == verdicts[0].k_star >= k_before
        decided, k_before = now, verdicts[0].k_star
    assert len(decided) > 5


def test_an_open_or_invalid_hypothesis_counts_as_no_evidence():
    claims, rows = [GREATER] * 3, [units(0.5, 100)] * 3
    failed = [none_failed(row) for row in rows]
    verdicts = judge_campaign(
        claims, rows, failed, [1 / 3] * 3, [True, False, True], [None, None, "chain"], 0.05
    )
    assert [(v.label, v.reason) for v in verdicts] == [
        ("supported", "decided"),
        ("inconclusive", "open"),
        ("invalid", "chain"),
    ]
    assert {v.k_star for v in verdicts} == {1}
    assert verdicts[1].lo > 0  # an open one still shows its interval


def test_an_open_hypothesis_is_not_yet_invalid_for_failures_but_is_for_a_broken_range():
    claim = replace(GREATER, invalid_if=0.0)
    args = ([claim, claim], [[0.1, np.nan], [0.1, 2.0]], [[False, True], [False, False]], [0.5, 0.5])
    opened = judge_campaign(*args, [False, False], [None, None], 0.05)
    assert [(v.label, v.reason) for v in opened] == [("inconclusive", "open"), ("invalid", "range")]
    closed = judge_campaign(*args, [True, True], [None, None], 0.05)
    assert [v.reason for v in closed] == ["failures", "range"]


def test_no_level_of_a_campaign_passes_alpha():
    claims, rows = [GREATER] * 8, [units(0.6, 100)] * 7 + [[]]
    weights = [6 / (np.pi**2 * i**2) for i in range(1, 9)]
    order = [
        7,
        0,
        1,
        2,
        3,
        4,
        5,
        6,
    ]  # the one without units has the largest weight: 7 * .05 * .61 would pass .05
    rows = [rows[i] for i in order]
    verdicts = judge_campaign(
        claims, rows, [none_failed(r) for r in rows], weights, [True] * 8, [None] * 8, 0.05
    )
    assert max(v.level for v in verdicts) == 0.05
    assert (verdicts[0].label, verdicts[0].k_star) == ("inconclusive", 7)


NULL_LAWS = {
    "bounded_mean": [coins, rare_loss, skewed_beta],
    "sign": [median_zero_skewed],
    "sharp": [bursts],
}


@pytest.mark.parametrize(("test", "law"), [(t, law) for t, laws in NULL_LAWS.items() for law in laws])
def test_a_planner_who_stops_at_the_first_label_is_wrong_at_most_alpha_of_the_time(test, law):
    """All labels at once: on a null of mean 0 any of supported, contradicted or a wrong sign is false."""
    repeats, alpha = 2000, 0.05
    rows = law(np.random.default_rng(38), (repeats, 120))
    lo, hi = (-np.inf, np.inf) if test == "sharp" else (-1.0, 1.0)
    claims = [Claim(test, "greater", 0.0, 0.3, lo, hi)] * repeats
    wrong = np.zeros(repeats, bool)
    for n in (20, 40, 60, 90, 120):
        found = evidence_of(claims, list(rows[:, :n]), [none_failed(range(n))] * repeats)
        wrong |= [max(e.log_above, e.log_below) >= log_threshold(alpha) for e in found]
    assert wrong.mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / repeats)


@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_the_false_share_of_a_campaign_of_stopping_planners_is_at_most_alpha(shared):
    """Half the ideas are true; the planner closes each at its first promising look; streams may share their noise."""
    campaigns, size, alpha = 40, 20, 0.2
    shares, uncovered = [], []
    for seed in range(campaigns):
        rng = np.random.default_rng([39, seed])
        common = rng.choice([-1.0, 1.0], 100)
        claims, rows = [], []
        for i in range(size):
            null = i % 2 == 0
            noise = np.where(rng.random(100) < shared, common, rng.choice([-1.0, 1.0], 100))
            row = np.where(rng.random(100) < (0.0 if null else 0.5), 1.0, noise)
            claims.append(GREATER)
            rows.append(row)
        for n in (20, 40, 60, 80):
            found = evidence_of(claims, [row[:n] for row in rows], [none_failed(row[:n]) for row in rows])
            rows = [
                row[:n] if its.log_e >= np.log(size / alpha) else row
                for row, its in zip(rows, found, strict=True)
            ]
        verdicts = judge_campaign(
            claims,
            rows,
            [none_failed(r) for r in rows],
            [1 / size] * size,
            [True] * size,
            [None] * size,
            alpha,
        )
        # mean 0 on even places, .5 on odd ones; equivalence within .2 is false for the odd ones
        false = [
            v.label in ("supported", "contradicted")
            if i % 2 == 0
            else v.label in ("contradicted", "equivalent")
            for i, v in enumerate(verdicts)
        ]
        shares.append(sum(false) / max(1, verdicts[0].k_star))
        truth = [0.0 if i % 2 == 0 else 0.5 for i in range(size)]
        missed = [
            v.reason == "decided" and not v.lo <= mu <= v.hi for v, mu in zip(verdicts, truth, strict=True)
        ]
        uncovered.append(sum(missed) / max(1, verdicts[0].k_star))
    assert np.mean(uncovered) <= alpha + 3 * np.std(uncovered) / np.sqrt(campaigns)
    assert np.mean(shares) <= alpha + 3 * np.std(shares) / np.sqrt(campaigns)


def test_what_a_claim_brings_to_its_campaign_is_what_the_campaign_is_judged_by():
    rng = np.random.default_rng(5)
    cases = [
        (Claim("bounded_mean", "less", 0.0, 0.1, -1, 1, invalid_if=0.05), None),
        (Claim("sign", "two_sided", 0.0, 0.2, -1, 1), None),
        (Claim("sharp", "greater", 0.0, 0.0, -math.inf, math.inf), None),
        (Claim("sharp", "greater", 0.0, 0.0, -math.inf, math.inf), "chain"),
    ]
    for claim, invalid in cases:
        for n, n_failed in ((0, 0), (30, 0), (30, 1), (30, 6)):
            values, failed = rng.uniform(-0.5, 0.9, n), np.arange(n) < n_failed
            [verdict] = judge_campaign([claim], [values], [failed], [0.5], [True], [invalid], 0.05)
            wanted = -math.inf if verdict.log_e is None else verdict.log_e
            assert campaign_log_e(claim, values, failed, invalid) == wanted, (claim, invalid, n_failed)
    outside = [0.2, 7.0]
    assert campaign_log_e(cases[0][0], outside, [False, False]) == -math.inf
