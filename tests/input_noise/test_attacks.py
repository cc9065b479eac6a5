import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from agentkit.errors import MissingExtraError, ParamError
from agentkit_input_noise import attacks
from agentkit_input_noise.attack_tool import noise_attack
from agentkit_input_noise.attacks import Ball, InputGradient
from agentkit_input_noise.errors import NotDifferentiableError

PARAMS = {"eps": [0.05, 0.15], "steps": 5, "items": 40}


@pytest.fixture
def run(make_context, digits, digits_net, units):
    def run(params=PARAMS, on=units[:2], model=digits_net, conditions=None):
        context = make_context({"digits:cnn": model, "digits:": digits}, conditions)
        return noise_attack(noise_attack.parse(params), on, context)

    return run


@pytest.fixture
def batch(digits):
    index = torch.tensor(digits.test[:64])
    return digits.images[index], digits.labels[index]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("eps", [0.05, 0.3])
def test_an_attack_stays_in_its_ball_and_in_range(norm, eps, batch, digits_net):
    x, y = batch
    ball, gradient = Ball(norm, eps), InputGradient(digits_net)
    for moved in (
        attacks.fgsm(gradient, x, y, ball),
        attacks.pgd(gradient, x, y, ball, step=eps / 4, steps=5, restarts=2, generator=generator()),
    ):
        size = (moved - x).flatten(1)
        assert (size.abs().amax() if norm == "inf" else size.norm(dim=1).max()) <= eps + 1e-6
        assert moved.min() >= 0
        assert moved.max() <= 1


def loss(net, x, y):
    return float(nn.functional.cross_entropy(net(x), y))


def test_an_attack_raises_the_loss_more_than_both_controls(batch, digits_net):
    x, y = batch
    moved = attacks.pgd(
        InputGradient(digits_net),
        x,
        y,
        Ball("inf", 0.1),
        step=0.025,
        steps=10,
        restarts=1,
        generator=generator(),
    )
    sign, sphere = attacks.random_sign(x, 0.1, generator()), attacks.random_sphere(x, moved, generator())
    assert loss(digits_net, moved, y) > max(loss(digits_net, sign, y), loss(digits_net, sphere, y))


def test_controls_have_the_size_of_the_attack(batch, digits_net):
    x, y = batch
    moved = attacks.fgsm(InputGradient(digits_net), x, y, Ball("inf", 0.1))
    sphere = attacks.random_sphere(x, moved, generator())
    sizes = [(m - x).flatten(1).norm(dim=1) for m in (moved, sphere)]
    assert torch.allclose(*sizes, rtol=0.02)
    sign = attacks.random_sign(x, 0.1, generator())
    assert (sign - x).abs().amax() == pytest.approx(0.1, abs=1e-6)


def test_more_restarts_never_lower_the_loss(batch, digits_net):
    x, y = batch
    losses = [
        loss(digits_net, attacks.pgd(
            InputGradient(digits_net), x, y, Ball("inf", 0.1), step=0.05, steps=2, restarts=n, generator=generator()
        ), y)
        for n in (1, 3)
    ]  # fmt: skip
    assert losses[1] >= losses[0]


def test_parameters_keep_their_flags_values_and_gradients(batch):
    x, y = batch
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    before = [p.detach().clone() for p in net.parameters()]
    attacks.fgsm(InputGradient(net), x, y, Ball("inf", 0.1))
    for p, old in zip(net.parameters(), before, strict=True):
        assert p.requires_grad
        assert p.grad is None
        assert torch.equal(p, old)


def test_the_gradient_is_that_of_autograd(batch, digits_net):
    x, y = batch
    point = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(
        nn.functional.cross_entropy(digits_net(point), y, reduction="sum"), point
    )
    assert torch.allclose(InputGradient(digits_net)(x, y), expected, atol=1e-7)


def test_parameters_that_require_gradients_change_neither_the_attack_nor_the_refusal(batch, digits_net):
    x, y = batch
    thawed = copy.deepcopy(digits_net).requires_grad_(True)
    assert torch.equal(InputGradient(thawed)(x, y), InputGradient(digits_net)(x, y))

    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.lost, self.last = nn.Flatten(), nn.Linear(64, 10)

        def forward(self, x):
            return self.last(self.lost(x).detach())

    with pytest.raises(NotDifferentiableError, match="lost before module 'last'"):
        InputGradient(Detached())(x, y)


def test_attacks_cost_accuracy_and_controls_hardly_any(run):
    table = run()
    accuracy = {c: table.column("accuracy", c).mean() for c in table.conditions}
    assert accuracy["pgd=0.15"] < accuracy["pgd=0.05"] <= accuracy["baseline"]
    assert accuracy["random_sign=0.15"] > accuracy["pgd=0.15"] + 0.2
    assert accuracy["random_sphere=0.15"] > accuracy["pgd=0.15"] + 0.2
    assert (table.column("linf", "pgd=0.15") <= 0.15 + 1e-6).all()


@pytest.mark.parametrize("kind", ["fgsm", "uap"])
def test_every_kind_stands_beside_both_controls(run, kind):
    table = run({"kind": kind, "eps": [0.2], "items": 40, "learn": 100})
    assert set(table.conditions) == {
        "baseline",
        "chance",
        f"{kind}=0.2",
        "random_sign=0.2",
        "random_sphere=0.2",
    }
    assert table.column("loss", f"{kind}=0.2").mean() > table.column("loss", "random_sign=0.2").mean()


def test_no_split_of_units_or_conditions_shows_in_the_numbers(run, units):
    whole = run()
    assert type(whole).concat([run(on=[unit]) for unit in units[1::-1]]) == whole
    part = run(conditions={"random_sphere=0.15"})
    assert part == whole.select(conditions=part.conditions)


def test_a_control_cannot_be_switched_off():
    with pytest.raises(ParamError, match="no param 'controls'"):
        noise_attack.parse({"controls": []})


def test_eps_zero_is_the_baseline_and_refused():
    with pytest.raises(ParamError, match="baseline is strength zero"):
        noise_attack.parse({"eps": [0]})


class Rounded(nn.Module):
    """Breaks the gradient, as a quantised layer does."""

    def forward(self, x):
        return x.detach().round()


def test_a_target_without_gradient_is_refused_and_the_module_named(run):
    net = nn.Sequential(nn.Flatten(), Rounded(), nn.Linear(64, 10))
    with pytest.raises(NotDifferentiableError, match="module '1' breaks it"):
        run(model=net)


def test_a_callable_that_detaches_is_refused(run, digits_net):
    with pytest.raises(NotDifferentiableError, match="no torch module or detaches"):
        run(model=lambda x: digits_net(x.detach()))


@pytest.mark.parametrize(("kind", "norm"), [("pgd", "inf"), ("pgd", "2"), ("fgsm", "inf")])
def test_art_as_the_backend_attacks_as_hard_within_its_ball_and_leaves_everything_as_it_was(
    run, digits_net, units, kind, norm
):
    pytest.importorskip("art", reason="the extra `art` is not installed")
    params = {**PARAMS, "eps": [0.5 if norm == "2" else 0.1], "kind": kind, "norm": norm, "steps": 10}
    before, random_state = copy.deepcopy(digits_net.state_dict()), np.random.get_state()[1].copy()  # noqa: NPY002
    ours, theirs = run(params), run({**params, "backend": "art"})
    name = f"{kind}={params['eps'][0]}"
    size = theirs.column("linf" if norm == "inf" else "l2", name)
    assert (size <= params["eps"][0] + 1e-5).all()
    assert np.abs(ours.column("accuracy", name) - theirs.column("accuracy", name)).max() <= 0.1
    assert theirs == run({**params, "backend": "art"})
    assert theirs.select(units=[units[1].index]) == run({**params, "backend": "art"}, on=units[1:2])
    assert all(torch.equal(v, before[k]) for k, v in digits_net.state_dict().items())
    assert all(p.grad is None for p in digits_net.parameters())
    assert (np.random.get_state()[1] == random_state).all()  # noqa: NPY002


def test_art_is_refused_for_what_it_does_not_run_and_named_when_absent(run, monkeypatch):
    with pytest.raises(ParamError, match="backend 'art' runs fgsm and pgd; uap needs backend 'native'"):
        noise_attack.parse({**PARAMS, "kind": "uap", "backend": "art"})
    monkeypatch.setitem(__import__("sys").modules, "art.attacks.evasion", None)
    with pytest.raises(MissingExtraError, match=r"agentkit-perturb\[art\]"):
        run({**PARAMS, "backend": "art"})


@pytest.mark.slow  # two attacks of 20 steps on 500 digits, 10 CPU s
def test_robust_accuracy_is_within_half_a_percent_of_art(digits, digits_net):
    art = pytest.importorskip(
        "art.attacks.evasion", reason="the oracle adversarial-robustness-toolbox is absent"
    )
    from art.estimators.classification import PyTorchClassifier

    index = torch.tensor(digits.test)
    x, y = digits.images[index], digits.labels[index]
    estimator = PyTorchClassifier(
        digits_net, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0, 1), device_type="cpu"
    )
    theirs = art.ProjectedGradientDescentPyTorch(
        estimator,
        norm=np.inf,
        eps=0.1,
        eps_step=0.025,
        max_iter=20,
        num_random_init=1,
        batch_size=500,
        verbose=False,
    ).generate(x.numpy(), y.numpy())
    ours = attacks.pgd(
        InputGradient(digits_net),
        x,
        y,
        Ball("inf", 0.1),
        step=0.025,
        steps=20,
        restarts=1,
        generator=generator(),
    )
    found = [float((digits_net(torch.as_tensor(m)).argmax(1) == y).float().mean()) for m in (ours, theirs)]
    assert abs(found[0] - found[1]) <= 0.005


def every_step(gradient, start, x, labels, ball, step, steps):
    """What `ascend` promises, without its short cut."""
    point = start
    for _ in range(steps):
        point = ball.project(point + step * ball.uphill(gradient(point, labels)), x)
    return point


class RowByRow(nn.Module):
    """Two classes from sums over single rows, so that no row's last bit depends on its neighbours."""

    def forward(self, x):
        waves = torch.arange(1, 65, dtype=x.dtype)
        score = (torch.sin(3 * x.flatten(1) + waves) * waves.cos()).sum(dim=1)
        return torch.stack([score, -score], dim=1)


@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("steps", [1, 2, 39, 40])
def test_items_that_go_to_and_fro_leave_early_and_end_where_all_steps_lead(norm, steps, batch):
    x, y = batch
    rows = []

    class Counted(InputGradient):
        def __call__(self, x, labels):
            rows.append(len(x))
            return super().__call__(x, labels)

    gradient, ball = Counted(RowByRow()), Ball(norm, 0.1)
    start = ball.random_start(x, generator())
    found = attacks.ascend(gradient, start, x, y % 2, ball, step=0.025, steps=steps)
    assert norm == "2" or steps < 39 or min(rows) < len(x)
    assert torch.equal(found, every_step(gradient, start, x, y % 2, ball, 0.025, steps))


def test_the_short_cut_changes_no_prediction_of_a_network(batch, digits_net):
    x, y = batch
    gradient, ball = InputGradient(digits_net), Ball("inf", 0.1)
    start = ball.random_start(x, generator())
    found = attacks.ascend(gradient, start, x, y, ball, step=0.025, steps=20)
    whole = every_step(gradient, start, x, y, ball, 0.025, 20)
    assert (found - whole).abs().mean() < 1e-4
    assert (digits_net(found).argmax(1) == digits_net(whole).argmax(1)).float().mean() > 0.98


def test_a_shift_along_the_gradient_has_its_length_and_costs_more_than_a_random_direction(run):
    table = run({"kind": "gradient_shift", "eps": [0.8], "items": 40})
    for kind in ("gradient_shift", "random_sphere"):
        assert table.column("l2", f"{kind}=0.8") == pytest.approx(0.8, abs=0.02)
    losses = [table.column("loss", f"{kind}=0.8").mean() for kind in ("gradient_shift", "random_sphere")]
    assert losses[0] > 2 * losses[1]


def test_in_l2_the_random_signs_have_the_attacks_own_largest_change(run):
    table = run({"norm": "2", "eps": [0.5], "steps": 5, "items": 40})
    assert table.column("linf", "random_sign=0.5") == pytest.approx(table.column("linf", "pgd=0.5"), abs=1e-6)
    assert (table.column("linf", "pgd=0.5") < 0.5).all()


def test_without_labels_an_attack_leads_away_from_the_clean_prediction(
    digits, digits_net, make_context, units
):
    context = make_context({"digits:cnn": digits_net, "digits:": dataclasses.replace(digits, labels=None)})
    table = noise_attack(noise_attack.parse(PARAMS), units[:2], context)
    assert table.metrics == ("flip_rate", "loss", "linf", "l2")
    assert (table.column("flip_rate", "baseline") == 0).all()
    assert (
        table.column("flip_rate", "pgd=0.15").mean()
        > 0.2 + table.column("flip_rate", "random_sign=0.15").mean()
    )
    assert "flip_rate" in context.artifacts["curve.json"]
    with pytest.raises(ParamError, match="uap learns from labelled train images"):
        noise_attack(noise_attack.parse({"kind": "uap"}), units[:1], context)


class Rounds(nn.Module):
    """Differentiable by name only: the gradient of rounding is zero everywhere."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(64, 10)

    def forward(self, x):
        return self.last(x.flatten(1).round())


@pytest.mark.parametrize("kind", ["fgsm", "pgd", "gradient_shift", "uap"])
def test_a_gradient_of_zeros_is_refused_and_not_taken_for_robustness(make_context, digits, units, kind):
    context = make_context({"digits:cnn": Rounds().eval(), "digits:": digits})
    with pytest.raises(NotDifferentiableError, match="exactly zero for every image"):
        noise_attack(
            noise_attack.parse({"kind": kind, "eps": [0.1], "items": 8, "learn": 10}), units[:1], context
        )


def test_labels_that_no_class_can_be_are_refused(make_context, digits, digits_net, units):
    few = nn.Sequential(digits_net, nn.Linear(10, 3)).eval()
    context = make_context({"digits:cnn": few, "digits:": digits})
    with pytest.raises(ParamError, match="labels run from 0 to 9, and the classifier has classes 0 to 2"):
        noise_attack(noise_attack.parse({"eps": [0.1], "items": 8}), units[:1], context)
