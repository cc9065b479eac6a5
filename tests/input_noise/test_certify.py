import numpy as np
import pytest
import torch

from agentkit import Unit
from agentkit.errors import ParamError
from agentkit_input_noise.certify_tool import noise_certify
from agentkit_input_noise.errors import TargetNotDeterministicError, UnreachableRadiusError

PARAMS = {"radii": [0.1, 0.25, 0.4], "cap": 500, "items": 20}


@pytest.fixture
def run(make_context, digits, digits_net, units):
    def run(params=PARAMS, on=units[:2], data=digits, model=digits_net, conditions=None):
        context = make_context({"digits:cnn": model, "digits:": data}, conditions)
        return noise_certify(noise_certify.parse(params), on, context)

    return run


class Plane:
    """Two classes divided by a plane: the certified radius of an item is its distance, exactly."""

    def __init__(self, distances):
        n = len(distances)
        direction = torch.ones(16) / 4
        self.images = (0.5 + (torch.tensor(distances)[:, None] * direction)).view(n, 1, 4, 4)
        self.labels = torch.tensor([1] * n)
        self.test = tuple(range(n))

    def draw(self, rng, n):
        return self.test[:n]

    def __call__(self, x):
        side = (x.flatten(1) - 0.5) @ (torch.ones(16) / 4)
        return torch.stack([-side, side], dim=1)


@pytest.mark.parametrize("mode", ["sequential", "fixed"])
def test_no_radius_beyond_the_distance_to_a_plane_is_certified(run, mode):
    plane = Plane([0.02, 0.15, 0.3, 0.45])
    params = {"radii": [0.05, 0.1, 0.2, 0.35], "mode": mode, "items": 4, "n0": 400, "cap": 4000, "n": 4000}
    table = run(params, data=plane, model=plane)
    found = [table.column("certified", f"r={r:g}").tolist() for r in (0.05, 0.1, 0.2, 0.35)]
    assert found == [[0.75, 0.75], [0.75, 0.75], [0.5, 0.5], [0.25, 0.25]]
    assert (table.column("certified", "baseline") == 1).all()


def test_certified_accuracy_falls_with_the_radius_and_larger_ones_cost_more(run):
    table = run()
    certified = [table.column("certified", c).mean() for c in ("baseline", "r=0.1", "r=0.25", "r=0.4")]
    assert certified == sorted(certified, reverse=True)
    forwards = [table.column("forwards_per_item", c).mean() for c in ("r=0.1", "r=0.25", "r=0.4")]
    assert forwards == sorted(forwards)
    assert forwards[-1] < 600


def test_sequential_decides_as_fixed_does_with_a_quarter_of_the_forwards(make_context, digits, digits_net):
    """Same draws, item by item, at the page's middle radius; 100 digits."""
    from agentkit_input_noise.certify import decide

    unit, decisions, forwards = Unit(index=0, seed=5), {}, {}
    for mode in ("sequential", "fixed"):
        params = noise_certify.parse({"radii": [0.25], "mode": mode, "cap": 1000, "n": 1000})
        found = decide(params, unit, digits.images[list(digits.test[:100])], digits_net, make_context({}))
        decisions[mode], forwards[mode] = found.certified[:, 0], found.forwards[:, 0].mean()
    assert (decisions["sequential"] == decisions["fixed"]).mean() >= 0.95
    assert forwards["sequential"] * 4 <= forwards["fixed"]


def test_a_decided_item_does_not_move_the_noise_of_the_others(make_context, digits, digits_net):
    from agentkit_input_noise.certify import decide

    params = noise_certify.parse(PARAMS)
    unit, images = Unit(index=0, seed=9), digits.images[list(digits.test[:30])]
    together = decide(params, unit, images, digits_net, make_context({}))
    some = [3, 17, 22]
    alone = decide(params, unit, images[some], digits_net, make_context({}))
    assert (alone.certified == together.certified[some]).all()
    assert (alone.forwards == together.forwards[some]).all()


def test_no_attack_inside_a_certified_radius_flips_the_smoothed_class(make_context, digits, digits_net):
    """PGD in L2 on the smoothed net's mean probability, 24 digits certified at 0.25."""
    from agentkit_input_noise.certify import decide, votes

    params = noise_certify.parse({"radii": [0.25], "cap": 1000})
    images = digits.images[list(digits.test[:40])]
    found = decide(params, Unit(index=0, seed=2), images, digits_net, make_context({}))
    keep = np.flatnonzero(found.certified[:, 0])[:24]
    x, guess = images[keep], torch.from_numpy(found.guess[keep])
    generator = torch.Generator().manual_seed(0)
    delta = torch.zeros_like(x)
    for _ in range(10):
        delta.requires_grad_()
        noise = 0.25 * torch.randn((32, *x.shape[1:]), generator=generator)
        logits = digits_net(((x + delta)[:, None] + noise).flatten(0, 1)).view(len(x), 32, -1)
        loss = logits.softmax(-1).mean(1)[torch.arange(len(x)), guess].clamp_min(1e-9).log().sum()
        (gradient,) = torch.autograd.grad(loss, delta)
        step = -0.1 * gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
        delta = (delta + step).detach()
        size = delta.flatten(1).norm(dim=1)[:, None, None, None]
        delta = delta * (0.249 / size).clamp(max=1)
    counts = votes(
        digits_net, x + delta, 0.25 * torch.randn((1000, *x.shape[1:]), generator=generator), make_context({})
    )
    assert (counts.argmax(axis=1) == guess.numpy()).all()


def test_no_split_of_units_shows_in_the_numbers(run, units):
    whole = run(on=units[:3])
    assert type(whole).concat([run(on=[unit]) for unit in units[2::-1]]) == whole


def test_an_exploration_leaves_the_certified_accuracy_curve(make_context, digits, digits_net, units):
    context = make_context({"digits:cnn": digits_net, "digits:": digits})
    table = noise_certify(noise_certify.parse(PARAMS), units[:2], context)
    curve = context.artifacts["certified.json"]["curve"]
    assert [row["radius"] for row in curve] == [0, 0.1, 0.25, 0.4]
    assert curve[2]["certified"] == pytest.approx(table.column("certified", "r=0.25").mean())
    assert all(row["low"] <= row["certified"] <= row["high"] for row in curve)
    assert "<svg" in context.artifacts["certified.svg"]


@pytest.mark.parametrize(
    ("params", "largest"),
    [({"mode": "fixed", "radii": [0.62]}, "0.6158"), ({"cap": 1000, "radii": [0.61]}, "0.60")],
)
def test_a_radius_that_no_draws_can_certify_is_refused_with_the_largest_one(run, params, largest):
    with pytest.raises(UnreachableRadiusError, match=largest):
        run(params)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"radii": [0.0]}, "greater than 0"),
        ({"radii": [0.1, 0.1]}, "0.1 is given twice"),
        ({"sigma": 0}, "greater than or equal to 0.01"),
        ({"alpha": 0.5}, "less than or equal to 0.1"),
        ({"mode": "exact"}, "'sequential' or 'fixed'"),
    ],
)
def test_bad_params_are_refused_in_one_clear_line(params, message):
    with pytest.raises(ParamError, match=message):
        noise_certify.parse(params)


def test_a_net_with_dropout_on_is_refused(run):
    with pytest.raises(TargetNotDeterministicError, match="evaluation mode"):
        run(model=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.Dropout(0.5)))
