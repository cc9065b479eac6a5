"""Rules for many hypotheses agree with independent implementations and keep what they promise."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from agentkit.errors import StatsError
from agentkit.stats import procedures

STREAMS = 1000


def p_stream(rng):
    """Null, conservative and true p-values mixed, with some exact 0, 1 and ties."""
    n = int(rng.integers(1, 60))
    p = np.where(
        rng.random(n) < rng.uniform(0, 0.6), rng.beta(0.1, 4, n), rng.random(n) ** rng.choice([1, 0.3])
    )
    p[rng.random(n) < 0.03] = 0.0
    p[rng.random(n) < 0.03] = 1.0
    return np.round(p, int(rng.integers(2, 9)))


def oracle_run(test, values):
    """Levels and decisions of an online-fdr rule."""
    rejected, levels = [], []
    for value in values.tolist():
        rejected.append(test.test_one(value))
        levels.append(test.last_test_level)
    return np.array(rejected), np.array(levels)


def online_rules():
    reason = "online-fdr is the test oracle of the online rules (a dev dependency)"
    lord = pytest.importorskip("online_fdr.p_values.investing.lord.plus_plus", reason=reason)
    saffron = pytest.importorskip("online_fdr.p_values.investing.saffron.saffron", reason=reason)
    addis = pytest.importorskip("online_fdr.p_values.investing.addis.addis", reason=reason)
    return {
        "lord_plus_plus": lambda a: lord.LordPlusPlus(a, a / 2),
        "saffron": lambda a: saffron.Saffron(a, a / 2, 0.5),
        "addis": lambda a: addis.Addis(a, a / 2, 0.25, 0.5),
    }


@pytest.mark.parametrize("name", ["lord_plus_plus", "saffron", "addis"])
def test_online_rules_equal_online_fdr_on_a_thousand_streams(name):
    oracle = online_rules()[name]
    rng = np.random.default_rng(61)
    rejections = 0
    for _ in range(STREAMS):
        p, alpha = p_stream(rng), float(rng.choice([0.05, 0.2]))
        ours = getattr(procedures, name)(p, alpha)
        rejected, levels = oracle_run(oracle(alpha), p)
        np.testing.assert_array_equal(ours.rejected, rejected)
        np.testing.assert_allclose(ours.levels, levels, rtol=1e-9)
        rejections += rejected.sum()
    assert rejections > STREAMS


def test_e_lond_equals_online_fdr_on_a_thousand_streams():
    module = pytest.importorskip(
        "online_fdr.e_values.sequential", reason="online-fdr is the test oracle of e-LOND"
    )
    rng = np.random.default_rng(62)
    rejections = 0
    for _ in range(STREAMS):
        log_e = rng.normal(3, 4, int(rng.integers(1, 60)))
        ours = procedures.e_lond(log_e, procedures.lord_weights(len(log_e)), 0.1)
        rejected, levels = oracle_run(module.ELond(0.1), np.exp(log_e))
        np.testing.assert_array_equal(ours.rejected, rejected)
        np.testing.assert_allclose(ours.levels, levels, rtol=1e-9)
        rejections += rejected.sum()
    assert rejections > STREAMS


def test_e_bh_equals_online_fdr_and_ville_on_a_thousand_families():
    batch = pytest.importorskip("online_fdr.e_values.batch", reason="online-fdr is a test oracle of e-BH")
    ville = pytest.importorskip("ville.evalues", reason="ville is a test oracle of e-BH")
    rng = np.random.default_rng(63)
    for _ in range(STREAMS):
        e_values = np.exp(rng.normal(2, 2, int(rng.integers(1, 40))).round(1))
        ours = procedures.e_bh(np.log(e_values), 0.1)
        np.testing.assert_array_equal(ours, batch.e_bh(e_values.tolist(), 0.1))
        np.testing.assert_array_equal(ours, ville.ebh(e_values, 0.1))


def test_online_e_bh_with_equal_weights_is_e_bh_on_the_whole_family():
    batch = pytest.importorskip("online_fdr.e_values.batch", reason="online-fdr is a test oracle of e-BH")
    rng = np.random.default_rng(64)
    for _ in range(200):
        log_e = rng.normal(2, 2, int(rng.integers(1, 40)))
        k_star, _ = procedures.online_ebh(log_e, np.full(len(log_e), 1 / len(log_e)), 0.1)
        assert k_star == sum(batch.e_bh(np.exp(log_e).tolist(), 0.1))


def test_bh_and_by_equal_scipy_on_a_thousand_families():
    rng = np.random.default_rng(65)
    for _ in range(STREAMS):
        p = p_stream(rng)
        for ours, method in ((procedures.bh, "bh"), (procedures.by, "by")):
            adjusted = false_discovery_control(p, method=method)
            clear = np.abs(adjusted - 0.1) > 1e-12
            np.testing.assert_array_equal(ours(p, 0.1)[clear], (adjusted <= 0.1)[clear])


def test_holm_rejects_as_its_definition_says_and_never_less_than_bonferroni():
    rng = np.random.default_rng(66)
    for _ in range(STREAMS):
        p = p_stream(rng)
        rejected: set[int] = set()
        for step, i in enumerate(np.argsort(p, kind="stable").tolist()):
            if p[i] > 0.1 / (len(p) - step):
                break
            rejected.add(i)
        assert set(np.flatnonzero(procedures.holm(p, 0.1)).tolist()) == rejected
        assert set(np.flatnonzero(procedures.bonferroni(p, 0.1)).tolist()) <= rejected


def test_alpha_investing_spends_and_earns_as_written():
    decisions = procedures.alpha_investing([0.001, 0.9, 0.9, 0.02], 0.1)
    prices = [
        0.05 / 2,
        0.15 / 2,
        0.075 / 3,
        0.05 / 4,
    ]  # wealth .05; .15 after the rejection; then what is left
    np.testing.assert_allclose(decisions.levels, [price / (1 + price) for price in prices], rtol=1e-12)
    assert decisions.rejected.tolist() == [True, False, False, False]


def test_alpha_investing_never_spends_more_than_it_owns():
    rng = np.random.default_rng(67)
    for _ in range(200):
        decisions = procedures.alpha_investing(p_stream(rng), 0.2)
        cost = np.where(decisions.rejected, 0.0, decisions.levels / (1 - decisions.levels))
        wealth = 0.1 + np.cumsum(0.2 * decisions.rejected - cost)
        assert (wealth >= -1e-12).all()


@pytest.mark.parametrize(
    "name", ["alpha_investing", "lord_plus_plus", "saffron", "addis", "bh", "by", "holm", "bonferroni"]
)
def test_rules_keep_the_false_share_at_alpha_when_p_values_are_independent(name):
    rng = np.random.default_rng(68)
    alpha, false, total = 0.1, [], []
    for _ in range(400):
        null = rng.random(60) < 0.7
        p = np.where(null, rng.random(60), rng.beta(0.05, 5, 60))
        out = getattr(procedures, name)(p, alpha)
        rejected = out.rejected if isinstance(out, procedures.Decisions) else out
        false.append(int((rejected & null).sum()))
        total.append(int(rejected.sum()))
    share = np.array(false) / np.maximum(1, total)
    if name == "alpha_investing":  # it promises mFDR: the ratio of means, with 1/2 added below
        assert np.mean(false) / (np.mean(total) + 0.5) <= alpha + 3 * np.std(share) / 20
    else:
        assert share.mean() <= alpha + 3 * share.std() / 20
    assert np.mean(total) > 2


def test_peeking_breaks_saffron_and_not_online_e_bh():
    """Why the campaign rule is not SAFFRON: both get the same coins and look after every 10 of 100."""
    campaigns, size, alpha = 100, 20, 0.1
    rng = np.random.default_rng(69)
    from scipy.stats import norm

    from agentkit.stats.eprocess import log_k_plus_path
    from tests.stats.laws import many

    any_saffron, any_ebh = 0, 0
    for _ in range(campaigns):
        rows = rng.choice([-1.0, 1.0], (size, 100))
        looks = np.arange(9, 100, 10)
        z = np.cumsum(rows, axis=1)[:, looks] / np.sqrt(looks + 1)
        any_saffron += procedures.saffron(norm.sf(z).min(axis=1), alpha).rejected.any()
        path = log_k_plus_path(many("bounded_mean", rows), np.zeros(size))[:, looks]
        stop = np.argmax(path >= np.log(size / alpha), axis=1)  # the first promising look, else the first
        any_ebh += procedures.online_ebh(path[np.arange(size), stop], np.full(size, 1 / size), alpha)[0] > 0
    assert any_saffron / campaigns > 2 * alpha  # all are null: any rejection is a false share of 1
    assert any_ebh / campaigns <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / campaigns)


def test_the_spending_shares_sum_to_at_most_one():
    assert procedures.lord_weights(1_000_000).sum() <= 1
    assert procedures.saffron_weights(1_000_000).sum() <= 1
    assert procedures.saffron_weights(1_000_000).sum() > 0.99


def test_an_e_value_from_a_p_value_has_mean_one_and_falls_with_it():
    grid = (np.arange(2_000_000) + 0.5) / 2_000_000
    assert np.exp(procedures.log_e_from_p(grid)).mean() == pytest.approx(1, abs=2e-3)
    assert np.exp(procedures.log_e_from_p(grid, 0.9)).mean() == pytest.approx(1, abs=1e-3)
    assert procedures.log_e_from_p([0.0])[0] == np.inf
    assert np.exp(procedures.log_e_from_p([0.01, 1.0])).tolist() == pytest.approx([5.0, 0.5])


def test_the_mean_of_e_values_is_taken_in_log_space():
    assert procedures.mean_log_e([1000.0, 1000.0, -np.inf]) == pytest.approx(1000 + np.log(2 / 3))


@pytest.mark.parametrize(
    "name", ["lord_plus_plus", "saffron", "addis", "alpha_investing", "bh", "by", "holm", "bonferroni"]
)
def test_no_hypothesis_at_all_is_no_rejection_and_bad_p_values_are_refused(name):
    rule = getattr(procedures, name)
    out = rule([], 0.05)
    assert len(out.rejected if isinstance(out, procedures.Decisions) else out) == 0
    for bad in (np.nan, -0.1, 1.1):
        with pytest.raises(StatsError, match="p_values="):
            rule([0.5, bad], 0.05)
    with pytest.raises(StatsError, match="alpha="):
        rule([0.5], 1.5)


def test_no_evidence_at_all_is_no_rejection():
    assert len(procedures.e_bh([], 0.05)) == 0
    assert len(procedures.e_lond([], [], 0.05).rejected) == 0
    with pytest.raises(StatsError, match="kappa="):
        procedures.log_e_from_p([0.5], 1.0)
