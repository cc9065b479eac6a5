import pytest
import torch
from torch import nn

from agentkit_input_noise import bounds
from agentkit_input_noise.bounds import InputBall
from agentkit_input_noise.bounds_tool import noise_bounds
from agentkit_input_noise.crown import alpha_crown, crown
from agentkit_input_noise.errors import UnsupportedLayerError
from agentkit_input_noise.margins import margins, verified_margins


@pytest.fixture(scope="module")
def mlp():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(12, 24), nn.ReLU(), nn.Sequential(nn.Linear(24, 24), nn.ReLU()), nn.Linear(24, 5)
        ).eval()


@pytest.fixture(scope="module")
def convolutional():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3, stride=2, padding=1),
            nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3),
        )  # fmt: skip
        net[1].running_mean.normal_(0, 0.2)
        net[1].running_var.uniform_(0.5, 2)
        return net.eval()


def samples(ball, n=10_000, seed=0):
    """Points of each item's ball, half of them on its rim."""
    generator = torch.Generator().manual_seed(seed)
    x = ball.centre
    u = 2 * torch.rand((n, *x.shape), generator=generator) - 1
    if ball.norm == "inf":
        u[: n // 2] = u[: n // 2].sign()
        return x + ball.eps * u
    flat = torch.randn((n, *x.shape), generator=generator).flatten(2)
    return x + ball.eps * (flat / flat.norm(dim=2, keepdim=True)).view(n, *x.shape)


def extremes(net, ball, labels):
    """Margins at the ends of a gradient walk inside the ball."""
    from agentkit_input_noise.attacks import InputGradient

    x = ball.centre
    for _ in range(10):
        delta = x + ball.eps / 3 * InputGradient(net)(x, labels).sign() - ball.centre
        if ball.norm == "2":
            size = delta.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))
            delta = delta * (ball.eps / size.clamp_min(1e-12)).clamp(max=1)
        x = ball.centre + delta.clamp(-ball.eps, ball.eps)
    return margins(net(x), labels)


@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("which", ["mlp", "convolutional"])
def test_ibp_contains_crown_contains_every_output(norm, which, request):
    net = request.getfixturevalue(which)
    shape = (12,) if which == "mlp" else (1, 6, 6)
    centre = torch.rand((3, *shape), generator=torch.Generator().manual_seed(2))
    ball, labels = InputBall(centre, 0.05, norm), torch.tensor([0, 1, 2])
    low, high = verified_margins(net, ball, labels, "crown")
    outer_low, outer_high = verified_margins(net, ball, labels, "ibp")
    assert (outer_low <= low + 1e-5).all()
    assert (outer_high >= high - 1e-5).all()
    points = samples(ball)
    with torch.no_grad():
        found = margins(net(points.flatten(0, 1)), labels.repeat(len(points))).view(len(points), *low.shape)
    assert (found >= low - 1e-5).all()
    assert (found <= high + 1e-5).all()
    assert (extremes(net, ball, labels) >= low - 1e-5).all()


@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("which", ["mlp", "convolutional"])
def test_searched_slopes_tighten_crown_and_stay_sound(norm, which, request):
    net = request.getfixturevalue(which)
    shape = (12,) if which == "mlp" else (1, 6, 6)
    centre = torch.rand((3, *shape), generator=torch.Generator().manual_seed(2))
    ball, labels = InputBall(centre, 0.15, norm), torch.tensor([0, 1, 2])
    low, high = verified_margins(net, ball, labels, "alpha_crown")
    loose_low, loose_high = verified_margins(net, ball, labels, "crown")
    assert (low >= loose_low).all()
    assert (high <= loose_high).all()
    assert (high - low).mean() < (loose_high - loose_low).mean()
    points = samples(ball)
    with torch.no_grad():
        found = margins(net(points.flatten(0, 1)), labels.repeat(len(points))).view(-1, *low.shape)
    assert (found >= low - 1e-5).all()
    assert (found <= high + 1e-5).all()
    assert (extremes(net, ball, labels) >= low - 1e-5).all()


def test_a_searched_slope_by_hand():
    """f(x) = relu(x) on [-1, 2]: the lower line 0 bounds it at 0, where CROWN's line x gives -1."""
    net = nn.Sequential(nn.ReLU(), nn.Linear(1, 1, bias=False))
    nn.init.ones_(net[1].weight)
    low, high = alpha_crown(net, InputBall(torch.tensor([[0.5]]), 1.5, "inf"), torch.ones(1, 1, 1))
    assert (low.item(), high.item()) == (pytest.approx(0, abs=1e-6), pytest.approx(2))


@pytest.mark.parametrize(("norm", "dual"), [("inf", 1), ("2", 2)])
def test_one_linear_layer_is_bounded_exactly(norm, dual):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layer = nn.Linear(7, 4)
    centre = torch.rand((2, 7), generator=torch.Generator().manual_seed(4))
    low, high = crown(nn.Sequential(layer), InputBall(centre, 0.1, norm))
    reach = 0.1 * layer.weight.norm(p=dual, dim=1)
    assert torch.allclose(low, layer(centre) - reach, atol=1e-6)
    assert torch.allclose(high, layer(centre) + reach, atol=1e-6)


def test_crown_is_exact_where_every_relu_is_stable(mlp):
    centre = torch.rand((1, 12), generator=torch.Generator().manual_seed(5))
    low, high = crown(mlp, InputBall(centre, 1e-6, "inf"))
    assert torch.allclose(low, mlp(centre), atol=1e-4)
    assert (high >= low).all()


def test_a_relu_between_two_lines_by_hand():
    """f(x) = relu(x) on [-1, 2]: upper line 2/3 (x + 1), lower line x since 2 > 1."""
    net = nn.Sequential(nn.ReLU(), nn.Linear(1, 1, bias=False))
    nn.init.ones_(net[1].weight)
    low, high = crown(net, InputBall(torch.tensor([[0.5]]), 1.5, "inf"))
    assert (low.item(), high.item()) == (pytest.approx(-1), pytest.approx(2))


def test_crown_is_tighter_than_ibp_on_a_trained_net(digits, digits_net):
    index = torch.tensor(digits.test[:2])
    ball = InputBall(digits.images[index], 0.01, "inf")
    (low, high), (outer_low, outer_high) = (
        verified_margins(digits_net, ball, digits.labels[index], m) for m in ("crown", "ibp")
    )
    assert (high - low).mean() < (outer_high - outer_low).mean() / 2


@pytest.mark.parametrize("layer", [nn.Tanh(), nn.Dropout(0.5).train(), nn.BatchNorm1d(3).train()])
def test_a_layer_without_known_bounds_is_refused_with_those_known(layer):
    with pytest.raises(UnsupportedLayerError, match=r"known: .*Conv2d.*ReLU"):
        bounds.layers(nn.Sequential(nn.Linear(3, 3), layer))


def test_the_tool_verifies_fewer_images_at_larger_radii(make_context, digits, digits_net, units):
    context = make_context({"digits:cnn": digits_net, "digits:": digits})
    table = noise_bounds(noise_bounds.parse({"eps": [0.005, 0.05], "items": 3}), units[:2], context)
    verified = {c: table.column("verified", c).mean() for c in table.conditions}
    assert verified["baseline"] >= verified["crown=0.005"] >= verified["ibp=0.005"] >= verified["ibp=0.05"]
    assert verified["crown=0.005"] > verified["ibp=0.05"]
    assert table.column("mean_width", "crown=0.005")[0] < table.column("mean_width", "ibp=0.005")[0]
    assert noise_bounds.explore_only
    assert len(context.artifacts["bounds.json"]) == 2 * len(table.conditions)
    assert "<svg" in context.artifacts["bounds.svg"]


@pytest.mark.parametrize(("ours", "theirs"), [("ibp", "IBP"), ("crown", "CROWN")])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_bounds_equal_those_of_auto_lirpa(ours, theirs, mlp):
    lirpa = pytest.importorskip("auto_LiRPA", reason="test oracle: its source tree on PYTHONPATH")
    from auto_LiRPA.perturbations import PerturbationLpNorm

    centre = torch.rand((3, 12), generator=torch.Generator().manual_seed(2))
    ball = InputBall(centre, 0.05, "inf")
    low, high = bounds.ibp(mlp, ball)[-1] if ours == "ibp" else crown(mlp, ball)
    model = lirpa.BoundedModule(mlp, torch.empty_like(centre), bound_opts={"relu": "adaptive"}, device="cpu")
    bounded = lirpa.BoundedTensor(centre, PerturbationLpNorm(norm=float("inf"), eps=0.05))
    with torch.no_grad():
        found_low, found_high = model.compute_bounds(x=(bounded,), method=theirs)
    assert torch.allclose(low, found_low, atol=1e-4)
    assert torch.allclose(high, found_high, atol=1e-4)
