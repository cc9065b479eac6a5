"""Every claim that cannot be answered is refused before it is frozen, with field, value and what is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agentkit.errors import SpecError
from agentkit.ledger import Spec
from tests.ledger.conftest import build, outcomes_of

if TYPE_CHECKING:
    from agentkit.ledger import Campaign
    from agentkit.plugins import Plugins


def test_a_plain_claim_gets_range_test_target_and_versions(plugins: Plugins) -> None:
    spec = build(plugins)
    assert spec.contrast == {"baseline": -1.0, "dose=0.2": 1.0}
    assert (spec.lo, spec.hi, spec.test) == (-1.0, 1.0, "bounded_mean")
    assert spec.targets == {"toy:model": "toy-model-1"}
    assert (spec.plugin, spec.distribution, spec.tool_version) == ("toy", "toy-dist", "1")


def test_a_known_baseline_halves_the_range(plugins: Plugins) -> None:
    spec = build(plugins, metric="cosine", null=-0.05)
    assert (spec.lo, spec.hi) == (-2.0, 0.0)


def test_a_metric_without_a_range_is_tested_by_sign(plugins: Plugins) -> None:
    spec = build(plugins, metric="loss", direction="greater", sesoi=0.5)
    assert (spec.test, spec.lo, spec.hi) == ("sign", -1.0, 1.0)


def test_any_change_of_any_field_changes_the_hash(plugins: Plugins) -> None:
    spec = build(plugins)
    changes: dict[str, Any] = {
        "params": {"strength": 0.4}, "condition": "dose=0.1", "metric": "loss", "direction": "greater", "null": 0.01,
        "sesoi": 0.06, "test": "sign", "max_units": 100, "failed": "invalid_if: 0.05", "targets": {"toy:model": "other"},
    }  # fmt: skip
    hashes = {build(plugins, **{name: value}).sha256 for name, value in changes.items()}
    hashes.add(build(plugins, interval="one_sided").sha256)
    assert len(hashes | {spec.sha256}) == len(changes) + 2
    for field in ("tool_version", "source_sha256", "distribution_version"):
        assert spec.model_copy(update={field: "other"}).sha256 != spec.sha256


def test_order_of_params_and_contrast_does_not_change_the_hash(plugins: Plugins) -> None:
    a = build(
        plugins,
        params={"strength": 0.5, "target": "toy:model"},
        condition=None,
        contrast={"dose=0.2": 1, "baseline": -1},
    )
    b = build(
        plugins,
        params={"target": "toy:model", "strength": 0.5},
        condition=None,
        contrast={"baseline": -1, "dose=0.2": 1},
    )
    assert a.sha256 == b.sha256 == build(plugins).sha256


def test_a_spec_reads_back_from_its_json(plugins: Plugins) -> None:
    spec = build(plugins, failed={"invalid_if": 0.03}, interval="one_sided")
    assert Spec.model_validate_json(spec.model_dump_json()).sha256 == spec.sha256
    assert spec.claim.invalid_if == 0.03


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"tool": "toy.doze"}, r"no tool 'toy.doze'. Did you mean 'toy.dose'"),
    ({"metric": "scores"}, r"no metric of toy.dose 'scores'. Did you mean 'score'"),
    ({"params": {"strenght": 0.5}}, r"no param 'strenght'. Did you mean 'strength'"),
    ({"params": {"strength": 2}}, r"param 'strength': .*less than or equal to 1"),
    ({"params": {"seed": 2}}, r"no param 'seed'"),
    ({"direction": "lower"}, r"direction='lower': .*less"),
    ({"interval": "onesided"}, r"interval='onesided': Did you mean 'one_sided'"),
    ({"test": "boundedmean"}, r"test='boundedmean': Did you mean 'bounded_mean'"),
    ({"condition": "dose=0.3", "known_conditions": ["dose=0.1", "dose=0.2"]}, r"condition='dose=0.3': Did you mean"),
    ({"condition": "baseline"}, r"condition='baseline' is the untouched target"),
    ({"condition": None}, r"give either condition or contrast"),
    ({"contrast": {"a": 1, "b": -1}}, r"give either condition or contrast"),
    ({"condition": None, "contrast": {"a": 1, "b": -0.5}}, r"contrast=.*sum to 0"),
    ({"condition": None, "contrast": {"a": 0, "b": 0}}, r"contrast=.*not all zero"),
    ({"condition": None, "contrast": {"a": float("nan"), "b": 1}}, r"contrast\[a\]=nan"),
    ({"null": 1.0}, r"null=1.0 is refused: allowed is a number inside \(-1, 1\)"),
    ({"null": float("nan")}, r"null=nan"),
    ({"null": True}, r"null=True"),
    ({"sesoi": -0.1}, r"sesoi=-0.1"),
    ({"sesoi": float("inf")}, r"sesoi=inf"),
    ({"sesoi": 1.0}, r"sesoi=1.0 is refused: .*outside"),
    ({"sesoi": 0, "direction": "equivalent"}, r"sesoi=0.0 .*> 0"),
    ({"direction": "equivalent", "test": "sharp"}, r"'equivalent' is refused"),
    ({"direction": "equivalent", "interval": "one_sided"}, r"'equivalent' is refused"),
    ({"direction": "two_sided", "interval": "one_sided"}, r"'two_sided' is refused"),
    ({"metric": "loss", "test": "bounded_mean"}, r"metric 'loss' declares no range"),
    ({"max_units": 0}, r"max_units=0: a whole number from 1 to 100000"),
    ({"max_units": 100_001}, r"max_units=100001"),
    ({"max_units": 1.5}, r"max_units=1.5"),
    ({"failed": "ignore"}, r"failed='ignore': allowed is 'worst_case'"),
    ({"failed": "invalid_if: 0.5"}, r"failed='invalid_if: 0.5'"),
    ({"failed": {"invalid_if": -1}}, r"failed='invalid_if: -1'"),
    ({"failed": {"drop": 1}}, r"failed="),
    ({"tool": "toy.bound", "condition": "dose=0.1"}, r"tool='toy.bound' is explore_only"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), REFUSALS, ids=[m for _, m in REFUSALS])
def test_a_claim_that_cannot_be_answered_is_refused(
    plugins: Plugins, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        build(plugins, **changes)


def test_no_field_takes_a_seed(plugins: Plugins) -> None:
    with pytest.raises(TypeError, match="seed"):
        build(plugins, seed=1)


def test_an_effect_that_the_range_alone_hides_is_refused_without_a_pilot(
    campaign: Campaign, plugins: Plugins
) -> None:
    spec = build(plugins, sesoi=0.001, max_units=50)
    with pytest.raises(
        SpecError, match=r"at 50 units the smallest detectable effect is 0\.\d+ > 0.001; raise max_units"
    ):
        campaign.register(spec)
    assert campaign.register(spec, allow_underpowered=True).state == "frozen"


def test_a_noisy_pilot_decides_what_can_be_seen(campaign: Campaign, plugins: Plugins) -> None:
    spec = build(plugins, sesoi=0.06)
    noisy = [(-1) ** i * 0.4 for i in range(40)]
    assert not campaign.plan(spec).underpowered
    with pytest.raises(SpecError, match="smallest detectable effect"):
        campaign.register(spec, pilot=noisy)  # type: ignore[arg-type]  # a list is as good as an array


def test_a_plan_is_the_same_each_time_and_says_what_it_costs(campaign: Campaign, plugins: Plugins) -> None:
    run = campaign.start_explore(plugins, "toy.dose", {}, 20, targets={})
    run.record(run.begin_attempt("w"), outcomes_of(run))
    spec = build(plugins, sesoi=0.2)
    pilot = run.measurements().differences("score", spec.contrast)
    plan = campaign.plan(spec, pilot)
    assert plan == campaign.plan(spec, pilot)
    assert plan.expected_units is not None and 20 <= plan.expected_units <= 200
    assert plan.share_decided == 1.0
    assert plan.sd == pytest.approx(pilot.std(ddof=1))


def test_a_claim_of_signs_is_planned_by_the_mean_it_is_about(campaign: Campaign, plugins: Plugins) -> None:
    spec = build(plugins, test="sign", sesoi=0.7, max_units=20)
    split, one_way, tied = ([0.1, -0.1, 0.2, -0.2], [0.1, 0.2, 0.1, 0.2], [0.1, 0.0, -0.1, 0.0])
    plans = [campaign.plan(spec, pilot) for pilot in (split, one_way)]  # type: ignore[arg-type]  # as above
    assert plans[0] == plans[1], "four signs say nothing of the spread at a mean of 0.7"
    assert plans[0].mde <= 0.7 and plans[0].sd == pytest.approx((1 - 0.49) ** 0.5)
    assert campaign.plan(spec, tied).sd == pytest.approx(0.1)  # type: ignore[arg-type]  # half of 1, less .49
