import numpy as np
import pytest
import torch

from agentkit.errors import TargetError
from agentkit_input_noise.errors import NotDifferentiableError
from agentkit_input_noise.rl_tool import noise_rl
from agentkit_input_noise.rollouts import gap_gradient, observed

pytest.importorskip("gymnasium", reason="cartpole: needs gymnasium (extra `rl`)")

from agentkit_input_noise.cartpole import LinearPolicies, LinearPolicy
from agentkit_input_noise.cartpole_target import cartpole

PARAMS = {
    "kinds": ["obs_noise", "obs_attack", "obs_drop", "action_delay"],
    "strengths": [0.4, 0.8],
    "episodes": 8,
}

FEW = {"kinds": ["obs_attack", "obs_drop"], "strengths": [0.8], "episodes": 8}


@pytest.fixture
def run(make_context, units):
    def run(params=PARAMS, on=units[:2], target=None, conditions=None):
        context = make_context({"cartpole:linear": target or LinearPolicies()}, conditions)
        return noise_rl(noise_rl.parse(params), on, context)

    return run


class Fixed(LinearPolicies):
    """One given policy for every unit."""

    def __init__(self, policy):
        self._policy = policy

    def policy(self, rng):
        return self._policy


def test_trained_policies_hold_the_pole_and_noise_costs_return(run):
    table = run()
    assert (table.column("return", "baseline") > 450).all()
    assert (table.column("action_flip", "baseline") == 0).all()
    for kind in PARAMS["kinds"]:
        assert table.column("return", f"{kind}=0.8").mean() < table.column("return", "baseline").mean()
        assert table.column("action_flip", f"{kind}=0.8").mean() > 0


def test_an_attack_stands_beside_its_matched_control_and_costs_more(run):
    table = run()
    assert table.column("return", "obs_attack=0.4").mean() < table.column("return", "obs_sign=0.4").mean()


def test_no_split_of_units_or_conditions_shows_in_the_numbers(run, units):
    whole = run(FEW)
    assert type(whole).concat([run(FEW, on=[unit]) for unit in units[1::-1]]) == whole
    part = run(FEW, conditions={"obs_drop=0.8"})
    assert part == whole.select(conditions=part.conditions)


def test_each_unit_has_a_policy_of_its_own(units):
    policies = [LinearPolicies().policy(unit.rng("policy")).weights for unit in units[:2]]
    assert not torch.equal(*policies)
    assert torch.equal(LinearPolicies().policy(units[0].rng("policy")).weights, policies[0])


def test_the_attack_on_a_linear_policy_is_its_closed_form():
    policy = LinearPolicy(np.array([0.3, -1.0, 2.0, 0.5, 0.1]))
    o = np.random.default_rng(0).normal(size=(50, 4))
    w, b = policy.weights[:4].numpy(), float(policy.weights[4])
    box = np.array([0.5, 0.5, 0.05, 0.5]) * 0.2
    expected = o - box * np.sign(w) * np.sign(o @ w + b)[:, None]
    assert observed(policy, o, o, "obs_attack", box, 0.2, np.zeros_like(o)) == pytest.approx(expected)
    assert np.sign(gap_gradient(policy, o)) == pytest.approx(np.sign(w) * np.sign(o @ w + b)[:, None])


@pytest.mark.parametrize("kind", ["obs_noise", "obs_sign", "obs_attack"])
def test_perturbed_observations_stay_in_their_box(kind):
    policy = LinearPolicy(np.array([0.3, -1.0, 2.0, 0.5, 0.1]))
    rng = np.random.default_rng(1)
    o, box = rng.normal(size=(100, 4)), np.array([0.1, 0.2, 0.05, 0.3])
    assert (np.abs(observed(policy, o, o, kind, box, 0.2, rng.random(o.shape)) - o) <= box + 1e-12).all()


def test_a_policy_that_gives_nan_is_refused_with_the_episode(run):
    class Broken:
        def logits(self, observations):
            return torch.full((len(observations), 2), torch.nan, dtype=torch.float64)

    with pytest.raises(TargetError, match="NaN or an infinity in episode 0"):
        run(target=Fixed(Broken()))


def test_an_attack_on_a_policy_without_gradient_is_refused(run):
    class Table:
        def logits(self, observations):
            return torch.stack([observations[:, 2] * 0, observations[:, 2].detach().sign()], dim=1).detach()

    with pytest.raises(NotDifferentiableError, match="use obs_noise or obs_sign"):
        run(target=Fixed(Table()))


def test_an_attack_on_a_policy_that_rounds_is_refused(run):
    class Rounded:
        def logits(self, observations):
            right = observations[:, 2].round()
            return torch.stack([-right, right], dim=1)

    with pytest.raises(NotDifferentiableError, match="exactly zero for every observation"):
        run(target=Fixed(Rounded()))


@pytest.mark.parametrize("logits", [lambda o: o[:, :1], lambda o: o[:, 0], lambda o: o.numpy()[:, :2]])
def test_a_policy_that_gives_no_logits_is_refused(run, logits):
    policy = type("Odd", (), {"logits": staticmethod(logits)})()
    with pytest.raises(TargetError, match="two actions or more"):
        run(target=Fixed(policy))


def test_the_measured_strength_stands_beside_the_requested_one(make_context, units):
    kinds = ["obs_noise", "obs_attack", "obs_drop", "action_delay"]
    context = make_context({"cartpole:linear": cartpole.load("linear", "cpu")})
    noise_rl(noise_rl.parse({"kinds": kinds, "strengths": [0.2], "episodes": 32}), units[:1], context)
    size = {row["condition"]: row["measured"] for row in context.artifacts["strength.json"]}
    assert size["obs_attack=0.2"] == pytest.approx(0.2)
    assert size["obs_sign=0.2"] == pytest.approx(0.2)
    assert 0.19 < size["obs_noise=0.2"] <= 0.2
    assert size["obs_drop=0.2"] == pytest.approx(0.2, abs=0.03)
    assert size["action_delay=0.2"] == pytest.approx(0.2, abs=0.03)


def test_an_unknown_cartpole_target_is_refused_with_near_names():
    with pytest.raises(TargetError, match="Did you mean 'cartpole:linear'"):
        cartpole.fingerprint("linar")
