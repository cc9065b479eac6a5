"""Purifiers clean single images; the tool sets what they undo beside what they cost and beside an attacker who knows."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from agentkit.errors import ParamError
from agentkit_input_noise import purifiers
from agentkit_input_noise.errors import NotDifferentiableError
from agentkit_input_noise.purified import with_purifier
from agentkit_input_noise.purify_tool import noise_purify

NAMES = ("blur", "median", "total_variation", "dct", "projection")
PARAMS = {"purifiers": ["median", "dct"], "eps": [0.1, 0.2], "steps": 6, "items": 40}


@pytest.fixture
def run(make_context, digits, digits_net, units):
    def run(params=PARAMS, on=units[:2], model=digits_net, conditions=None):
        context = make_context({"digits:cnn": model, "digits:": digits}, conditions)
        return noise_purify(noise_purify.parse(params), on, context), context.artifacts

    return run


def noisy(images, sigma=0.1):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + sigma * noise).clamp(0, 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_purifier_keeps_shape_and_range_and_cleans_each_image_alone(name, digits):
    clean = purifiers.purifier(name, digits)
    images = noisy(digits.images[:12])
    cleaned = clean(images)
    assert cleaned.shape == images.shape
    assert cleaned.min() >= 0
    assert cleaned.max() <= 1
    assert not torch.equal(cleaned, images)
    assert torch.allclose(torch.cat([clean(images[:5]), clean(images[5:])]), cleaned, atol=1e-6)


@pytest.mark.parametrize("name", ["blur", "median", "total_variation", "dct"])
def test_a_flat_image_stays_flat_whatever_its_size_and_channels(name):
    flat = torch.full((2, 3, 11, 13), 0.5)
    assert (purifiers.FIXED[name](flat) - 0.5).abs().max() < 0.02


@pytest.mark.parametrize("name", ["blur", "median", "total_variation"])
def test_noise_on_a_smooth_image_gets_less(name):
    smooth = torch.linspace(0.2, 0.8, 32).expand(1, 1, 32, 32).contiguous()
    cleaned = purifiers.FIXED[name](noisy(smooth, 0.05))
    assert (cleaned - smooth).norm() < 0.7 * (noisy(smooth, 0.05) - smooth).norm()


def test_total_variation_solves_its_problem():
    """No small change of the solution lowers distance plus weighted variation."""
    x = noisy(torch.full((1, 1, 16, 16), 0.5), 0.2)

    def objective(u):
        down, right = purifiers._slopes(u)
        return float(
            ((u - x) ** 2).sum() / (2 * purifiers.VARIATION_WEIGHT) + (down**2 + right**2).sqrt().sum()
        )

    found = purifiers.total_variation(x)
    assert objective(found) < 0.6 * objective(x)
    for seed in range(5):
        change = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        assert objective(found + 0.02 * change) > objective(found)


def test_median_and_projection_are_those_of_other_libraries(digits):
    ndimage = pytest.importorskip("scipy.ndimage")
    images = digits.images[:6]
    theirs = np.stack([ndimage.median_filter(i[0].numpy(), 3, mode="nearest") for i in images])
    assert np.allclose(purifiers.median(images)[:, 0].numpy(), theirs)
    decomposition = pytest.importorskip("sklearn.decomposition")
    train = digits.images[list(digits.train)].flatten(1).numpy()
    pca = decomposition.PCA(n_components=purifiers.KEPT_VARIANCE, svd_solver="full").fit(train)
    theirs = pca.inverse_transform(pca.transform(images.flatten(1).numpy())).clip(0, 1)
    ours = purifiers.purifier("projection", digits)(images).flatten(1).numpy()
    assert np.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_an_attacker_s_gradient_passes_through(name, digits):
    x = noisy(digits.images[:4]).requires_grad_()
    (gradient,) = torch.autograd.grad((purifiers.purifier(name, digits)(x) ** 2).sum(), x)
    assert torch.isfinite(gradient).all()
    assert (gradient.flatten(1).norm(dim=1) > 0.1).all()


def test_an_attacker_who_knows_of_the_purifier_is_never_the_weaker_one(run):
    table, _ = run()
    for name in PARAMS["purifiers"]:
        unaware, aware, control = (f"{kind}=0.2" for kind in with_purifier(name))
        accuracy = {c: table.column("accuracy", c).mean() for c in (unaware, aware, control)}
        assert accuracy[aware] <= accuracy[unaware] < accuracy[control]
    assert table.column("accuracy", "median.clean").mean() < table.column("accuracy", "baseline").mean()
    assert (
        table.column("accuracy", "median.adaptive=0.2").mean()
        < table.column("accuracy", "median.pgd=0.2").mean()
    )


def test_the_same_images_are_seen_with_and_without_a_purifier(run):
    table, _ = run()
    assert np.array_equal(table.column("l2", "median.pgd=0.1"), table.column("l2", "pgd=0.1"))
    assert (table.column("l2_left", "baseline") == 0).all()
    assert (table.column("l2_left", "median.clean") > 0).all()
    sizes = [table.column("l2", f"{kind}=0.1") for kind in ("pgd", "random_sphere")]
    assert np.allclose(*sizes, rtol=0.02)


def test_no_split_of_units_or_conditions_shows_in_the_numbers(run, units):
    whole, _ = run()
    assert type(whole).concat([run(on=[unit])[0] for unit in units[1::-1]]) == whole
    part, _ = run(conditions={"median.adaptive=0.2", "dct.clean"})
    assert part == whole.select(conditions=part.conditions)


def test_an_exploration_leaves_a_figure_a_map_and_claims_whose_coefficients_sum_to_zero(run):
    _, files = run()
    assert set(files) == {"purified.json", "purified.svg", "heat.svg", "contrasts.json"}
    assert "adaptive" in files["purified.svg"]
    rows = (
        files["contrasts.json"]
        if isinstance(files["contrasts.json"], list)
        else json.loads(files["contrasts.json"])
    )
    assert all(sum(row["contrast"].values()) == 0 for row in rows)
    assert len(rows) == 2 * (1 + 4 * 2)


def test_the_adaptive_attack_cannot_be_switched_off_and_strength_zero_is_refused():
    with pytest.raises(ParamError, match="no param 'adaptive'"):
        noise_purify.parse({"adaptive": False})
    with pytest.raises(ParamError, match="baseline is strength zero"):
        noise_purify.parse({"eps": [0]})


def test_a_target_without_gradient_is_refused(run):
    class Rounded(nn.Module):
        def forward(self, x):
            return x.detach().round()

    with pytest.raises(NotDifferentiableError, match="module '1' breaks it"):
        run(model=nn.Sequential(nn.Flatten(), Rounded(), nn.Linear(64, 10)))
