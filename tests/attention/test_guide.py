import itertools
import warnings

import numpy as np
import pytest
import torch

import agentkit
from agentkit import Measurements
from agentkit.errors import ParamError
from agentkit_attention import image_scores
from agentkit_attention.errors import (
    BadObjectiveError,
    BadSearchError,
    JudgeNotIndependentError,
    UnknownSiteError,
)
from agentkit_attention.guide import Guide, guide
from agentkit_attention.guide_run import condition_sets
from agentkit_attention.headhunter import HeadHunter, ranking, rung_units
from agentkit_attention.models import describe
from agentkit_attention.targets import digits_dit, digits_judge
from tests.attention.conftest import BenchContext
from tests.attention.naive import hook_count, weights_sha256

HEADS = tuple(f"L{layer}.H{head}" for layer in range(6) for head in range(6))


class Brightness:
    """An objective that knows its range and is no classifier."""

    low, high = 0.0, 1.0

    def score(self, images, labels):
        return images.flatten(1).mean(1)


@pytest.fixture(scope="module")
def targets():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers, about itself, at import
        drawn = digits_dit.load("", "cpu")
    return {
        "digits-dit:": drawn,
        "digits-judge:": digits_judge.load("", "cpu"),
        "digits-judge:features": digits_judge.load("features", "cpu"),
        "digits:cnn": Brightness(),
    }


@pytest.fixture
def gctx(targets):
    return BenchContext(targets)


def quick(**params):
    return Guide(**{"n": 4, "steps": 3, "features": None} | params)


def test_guidance_changes_what_is_drawn_and_leaves_the_model_alone(units, gctx, targets):
    model = targets["digits-dit:"].model
    before = weights_sha256(model), hook_count(model)
    table = guide(quick(sets={"a": ("L1.H0", "L4.H1")}, u=1.0), units, gctx)
    assert table.conditions == ("baseline", "a")
    assert (table.column("objective", "a") != table.column("objective", "baseline")).all()
    assert (weights_sha256(model), hook_count(model)) == before


@pytest.mark.parametrize("idle", [{"u": 0.0}, {"w": 0.0}, {"window": (0.5, 0.5)}])
def test_idle_guidance_is_the_plain_sampler_bit_for_bit(units, gctx, idle):
    table = guide(quick(sets={"a": ("L1.H0",)}, **idle), units[:2], gctx)
    for metric in table.metrics:
        assert table.column(metric, "a").tolist() == table.column(metric, "baseline").tolist()


def test_our_weight_against_both_conventions_of_diffusers(units, targets):
    """W = s - 1 in the guider's default, w = s in its original formulation, on one step by hand."""
    target = targets["digits-dit:"]
    described, w, s = describe(target), 1.5, 2.5
    from agentkit_attention.edits import Condition, Edit, edited_pass
    from agentkit_attention.guide_run import _guided_velocity
    from agentkit_attention.techniques import EditState

    x = target.latents(torch.Generator().manual_seed(0), 3)
    condition = Condition("a", (described.table.heads[7],), "identity", 1.0)
    with torch.no_grad():
        guided = _guided_velocity(
            quick(sets={"a": ()}, w=w), target, described, condition, units[0], x, 0.6, None
        )
        e = target.velocity(x, 0.6, None)
        p = edited_pass(
            target.model, described.table, [Edit(condition, condition.heads[0], 0, 3)],
            lambda: target.velocity(x, 0.6, None), EditState(), torch.arange(3),
        )  # fmt: skip
    assert torch.allclose(guided, p + s * (e - p), atol=1e-6)
    assert torch.allclose(guided, e + w * (e - p), atol=1e-6)


def test_the_random_control_draws_anew_in_every_unit_and_may_hold_any_head(units, targets):
    table = describe(targets["digits-dit:"]).table
    params = quick(random_k=6, sets={"a": HEADS[:3]})
    draws = [tuple(h.name for h in condition_sets(params, table, u)["random_k"][0]) for u in units]
    assert len(set(draws)) == len(units)
    assert all(len(set(d)) == 6 for d in draws)
    assert (
        condition_sets(params, table, units[0])["random_k"][0]
        == condition_sets(params, table, units[0])["random_k"][0]
    )


def test_each_head_is_a_condition_on_top_of_the_given_ones(units, targets):
    table = describe(targets["digits-dit:"]).table
    sets = condition_sets(quick(each="L1.H0 L1.H1", given=("L1.H0", "L2.H2")), table, units[0])
    assert {n: [h.name for h in s[0]] for n, s in sets.items()} == {"L1.H1": ["L1.H0", "L1.H1", "L2.H2"]}


def test_a_conditions_values_do_not_depend_on_the_others(units, gctx, targets):
    both = guide(quick(sets={"a": ("L1.H0",), "b": ("L2.*",)}, u=(0.5, 1.0)), units[:1], gctx)
    alone = guide(quick(sets={"b": ("L2.*",)}, u=(0.5, 1.0)), units[:1], gctx)
    assert both.conditions == ("baseline", "a=0.5", "a=1", "b=0.5", "b=1")
    for condition in ("baseline", "b=1"):
        assert both.column("judge", condition) == alone.column("judge", condition)
    narrowed = BenchContext(targets, frozenset({"b=1"}))
    asked = guide(quick(sets={"a": ("L1.H0",), "b": ("L2.*",)}, u=(0.5, 1.0)), units[:1], narrowed)
    assert asked.conditions == ("baseline", "b=1")


def test_labels_and_classifier_free_guidance_steer_the_class(units, gctx):
    plain = guide(quick(sets={"a": ("L1.H0",)}, labels=(3,), n=8, steps=6), units[:1], gctx)
    pushed = guide(quick(sets={"a": ("L1.H0",)}, labels=(3,), n=8, steps=6, cfg=3.0), units[:1], gctx)
    assert pushed.column("judge", "baseline") > plain.column("judge", "baseline")
    assert "accuracy" in pushed.metrics


def test_sets_of_images_are_compared_with_the_real_ones_and_fd_needs_many(units, gctx):
    table = guide(quick(sets={"a": ("L1.H0",)}, features="digits-judge:features"), units[:1], gctx)
    assert {"precision", "recall", "inception"} <= set(table.metrics)
    assert "fd" not in table.metrics
    for metric in guide.metrics:
        if metric.name in table.metrics:
            assert all(metric.contains(v) for v in table.array(metric.name).ravel())


def test_a_claim_on_a_distance_that_too_few_samples_leave_out_is_refused_up_front(tmp_path):
    few = {"tool": "attention.guide", "params": {"sets": {"a": ["L1.H0"]}, "n": 8, "steps": 2}}
    with agentkit.lab(f"sqlite:///{tmp_path}/l.db", workers="inline") as lab:
        campaign = lab.campaign("few")
        with pytest.raises(ParamError, match=r"fd is not measured with these params \(R1 measured judge"):
            lab.register(campaign, **few, condition="a", metric="fd", direction="less", sesoi=0.5, null=0.0)


def test_frechet_distance_of_equal_and_shifted_sets():
    real = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
    assert image_scores.frechet_distance(real, real) == pytest.approx(0, abs=1e-6)
    assert image_scores.frechet_distance(real, real + 2) == pytest.approx(20, abs=1e-5)


def test_precision_and_recall_of_copies_strangers_and_a_collapsed_set():
    real = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    assert image_scores.precision_recall(real, real) == (1, 1)
    assert image_scores.precision_recall(real, real + 100) == (0, 0)
    precision, recall = image_scores.precision_recall(real, real[:1].repeat(20, 1) + 1e-4)
    assert precision == 1 > 0.2 > recall


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.ones(2), "shape"),
        (torch.tensor([0.1, float("nan"), 0.2]), "image 1"),
        (torch.tensor([0.1, 0.2, 7]), "gave 7"),
    ],
)
def test_a_bad_objective_is_named_with_the_image_and_the_value(scores, message):
    class Bad(Brightness):
        def score(self, images, labels):
            return scores

    with pytest.raises(BadObjectiveError, match=message):
        image_scores.score_images(Bad(), "py:mine", torch.zeros(3, 1, 8, 8), None)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sets": {"a": ["L1.H0"]}, "u": 1.5}, "u of identity"),
        ({"sets": {"a": ["L1.H0"]}, "judge": "digits:cnn"}, "judge"),
        ({"sets": {"a": ["L1.H0"]}, "cfg": 2}, "cfg needs labels"),
        ({"sets": {"baseline": ["L1.H0"]}}, "taken"),
        ({"sets": {"a": ["L1.H0"]}, "window": [0.6, 0.2]}, "window"),
        ({}, "nothing to guide with"),
    ],
)
def test_params_that_make_no_sense_are_refused(params, message):
    with pytest.raises(ParamError, match=message):
        guide.parse(params)


def test_an_unknown_head_in_a_set_is_named(units, gctx):
    with pytest.raises(UnknownSiteError, match=r"L9\.H0"):
        guide(quick(sets={"a": ("L9.H0",)}), units[:1], gctx)


class TableLab:
    """A lab whose explorations come from a table of true gains plus small noise that units share."""

    def __init__(self, means, noise=0.0, same=False):
        self.means, self.noise, self.same, self.calls = means, noise, same, []
        self.plugins = self

    def fingerprints(self, uris):
        return {u: "same" if self.same else u for u in uris}

    def explore(self, tool, *, units, campaign, **params):
        self.calls.append((units, params))
        rng = np.random.default_rng(len(self.calls))
        names = params["each"].split() if "each" in params else ["hunted=1", "random_k=1"]
        rows = [(u, "baseline", m, 0.5) for u in range(units) for m in ("objective", "judge")]
        for u, n, m in itertools.product(range(units), names, ("objective", "judge")):
            rows.append((u, n, m, 0.5 + self.means.get(n, 0.0) + self.noise * rng.standard_normal()))
        return Measurements.from_rows(rows)


def test_a_race_keeps_the_true_best_and_costs_what_the_arithmetic_says():
    means = {h: 0.01 * ((7 * i) % 36) for i, h in enumerate(HEADS)}
    best = sorted(HEADS, key=lambda h: -means[h])[:6]
    raced = HeadHunter(TableLab(means, 1e-4), HEADS, k=6, u_post=()).run()
    full = HeadHunter(TableLab(means, 1e-4), HEADS, k=6, u_post=(), race=False).run()
    assert list(raced.heads) == list(full.heads) == best
    assert raced.generations - sum((3, 4, 13)) == 36 * 3 + 12 * 4 + 12 * 13 == 312
    assert full.generations - 20 == 720
    assert raced.tried == full.tried == 36


def test_rounds_build_on_the_heads_already_found():
    lab = TableLab({h: 0.01 * i for i, h in enumerate(HEADS)})
    hunt = HeadHunter(lab, HEADS, k=2, rounds=2, units=4, u_post=(1.0,)).run()
    assert hunt.heads == (HEADS[35], HEADS[34], HEADS[33], HEADS[32])
    assert lab.calls[-2][1]["given"] == (HEADS[35], HEADS[34])
    assert lab.calls[-1][1]["random_k"] == 4
    assert "control too small: 4 draws" in hunt.text
    assert "configurations tried: 70" in hunt.text


def test_ties_go_to_the_earlier_head():
    assert [c.head for c in ranking({"b": [1.0], "a": [1.0], "c": [2.0]}, ["a", "b", "c"])] == ["c", "a", "b"]


def test_rungs_grow_to_all_units():
    assert rung_units(20, 3) == [3, 7, 20]
    assert rung_units(2, 3) == [2]


def test_a_judge_that_loads_the_objective_is_refused():
    with pytest.raises(JudgeNotIndependentError):
        HeadHunter(TableLab({}, same=True), HEADS, k=2)


@pytest.mark.parametrize("options", [{"k": 37}, {"k": 20, "rounds": 2}, {"k": 0}, {"k": 2, "units": 1}])
def test_a_search_for_more_than_there_is_is_refused(options):
    with pytest.raises(BadSearchError):
        HeadHunter(TableLab({}), HEADS, **options)
